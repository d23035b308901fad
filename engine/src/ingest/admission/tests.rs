use super::*;

#[test]
fn the_bound_holds_and_a_single_request_passes_it() {
    let admission = Admission::new(100);
    let large = admission.admit(150).unwrap();
    assert!(admission.admit(1).is_err());
    assert!(admission.has_room(1).is_err());
    drop(large);
    let first = admission.admit(60).unwrap();
    assert!(admission.admit(41).is_err());
    let second = admission.admit(40).unwrap();
    assert_eq!(admission.held_bytes(), 100);
    drop((first, second));
    assert_eq!(admission.held_bytes(), 0);
}

#[test]
fn a_permit_grows_with_what_comes_and_gives_everything_back() {
    let admission = Admission::new(100);
    let mut one = admission.admit(10).unwrap();
    // Alone it may grow beyond the bound, as it would have been let in.
    one.grow(120).unwrap();
    assert!(admission.admit(1).is_err());
    drop(one);
    let mut one = admission.admit(10).unwrap();
    let other = admission.admit(50).unwrap();
    one.grow(50).unwrap();
    one.grow(20).unwrap();
    assert_eq!((one.bytes(), admission.held_bytes()), (50, 100));
    assert_eq!(one.grow(51).unwrap_err().kind(), crate::ErrorKind::Overloaded);
    assert_eq!(one.bytes(), 50);
    drop((one, other));
    assert_eq!(admission.held_bytes(), 0);
}

#[test]
fn rows_are_counted_apart_from_requests() {
    let admission = Admission::new(100);
    let request = admission.admit(70).unwrap();
    admission.hold(60);
    assert_eq!((admission.held_bytes(), admission.rows_bytes()), (130, 60));
    drop(request);
    admission.release(50);
    assert_eq!((admission.held_bytes(), admission.rows_bytes()), (10, 10));
}
