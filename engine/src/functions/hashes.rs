//! Hashes of text. Those of a number hash its bytes, as it is stored.

use super::scalar::{Args, Text, wrong};
use super::strings::push_bytes;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, UInt32Type, UInt64Type};
use datafusion::common::Result as PlanResult;
use md5::Digest;
use std::hash::Hasher;

/// The bytes that are hashed of each row of an argument.
enum Bytes {
    Text(Text),
    /// Numbers of this many bytes.
    Number(super::scalar::Ints, usize),
    Float(arrow::array::Float64Array, bool),
}

impl Bytes {
    fn new(args: &Args<'_>, at: usize) -> PlanResult<Self> {
        if let Ok(text) = args.text(at) {
            return Ok(Self::Text(text));
        }
        let data_type = args.data_type(at);
        match &data_type {
            DataType::Float32 | DataType::Float64 => Ok(Self::Float(args.float(at)?, data_type == DataType::Float32)),
            DataType::Boolean => Ok(Self::Number(args.int(at)?, 1)),
            found if found.is_integer() => {
                // Whole numbers written out are as small as they can be.
                let width = found.primitive_width().unwrap_or(8);
                let numbers = args.int(at)?;
                let width = match (&numbers, found) {
                    (super::scalar::Ints::One(number), DataType::Int64) => smallest(*number),
                    _ => width,
                };
                Ok(Self::Number(numbers, width))
            }
            other => Err(wrong(format!(
                "a hash of {other} is not answered: make it a text with toString"
            ))),
        }
    }

    fn with<R>(&self, row: usize, then: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Text(text) => then(text.get(row).as_bytes()),
            Self::Number(numbers, width) => then(&numbers.get(row).to_le_bytes()[..*width]),
            Self::Float(floats, true) => then(&(floats.value(row) as f32).to_le_bytes()),
            Self::Float(floats, false) => then(&floats.value(row).to_le_bytes()),
        }
    }

    fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }
}

fn smallest(number: i64) -> usize {
    match number {
        -0x80..=0xff => 1,
        -0x8000..=0xffff => 2,
        -0x8000_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

fn all(args: &Args<'_>) -> PlanResult<Vec<Bytes>> {
    (0..args.len()).map(|at| Bytes::new(args, at)).collect()
}

/// `sipHash64(…)`, with a key of zeros; of several values, the hash of the first hash and the next one.
pub fn sip_hash(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let all = all(args)?;
    args.numbers::<UInt64Type>(|row| {
        let mut result = None;
        for one in &all {
            let hash = one.with(row, sip);
            result = Some(match result {
                None => hash,
                Some(before) => {
                    let pair: [u64; 2] = [before, hash];
                    let bytes: Vec<u8> = pair.iter().flat_map(|half| half.to_le_bytes()).collect();
                    sip(&bytes)
                }
            });
        }
        Ok(result)
    })
}

fn sip(bytes: &[u8]) -> u64 {
    let mut hasher = siphasher::sip::SipHasher24::new_with_keys(0, 0);
    hasher.write(bytes);
    hasher.finish()
}

/// `xxHash64(text)`.
pub fn xx_hash64(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    args.numbers::<UInt64Type>(|row| Ok(Some(xxhash_rust::xxh64::xxh64(text.get(row).as_bytes(), 0))))
}

/// `xxHash32(text)`.
pub fn xx_hash32(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    args.numbers::<UInt32Type>(|row| Ok(Some(xxhash_rust::xxh32::xxh32(text.get(row).as_bytes(), 0))))
}

/// `cityHash64(…)` of version 1.0.2, which ClickHouse keeps.
pub fn city_hash(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let all = all(args)?;
    args.numbers::<UInt64Type>(|row| {
        let mut result = None;
        for one in &all {
            let hash = match one.is_text() {
                true => one.with(row, city64),
                false => one.with(row, |bytes| int_hash(padded(bytes) ^ INT_SALT)),
            };
            result = Some(match result {
                None => hash,
                Some(before) => city_of_two(before, hash),
            });
        }
        Ok(result)
    })
}

fn padded(bytes: &[u8]) -> u64 {
    let mut all = [0; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(all)
}

/// `intHash64(n)`.
pub fn int_hash64(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let numbers = args.int(0)?;
    args.numbers::<UInt64Type>(|row| Ok(Some(int_hash(numbers.get(row) as u64 ^ INT_SALT))))
}

/// What ClickHouse mixes into numbers before it hashes them.
const INT_SALT: u64 = 0x4CF2_D2BA_AE6D_A887;

/// The finaliser of MurmurHash3.
fn int_hash(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

macro_rules! digests {
    ($($(#[$doc:meta])* $name:ident $kind:ty;)*) => {$(
        $(#[$doc])*
        pub fn $name(args: &Args<'_>) -> PlanResult<ArrayRef> {
            let text = args.text(0)?;
            let as_hex = args.function().starts_with("hex");
            args.texts(|row, out| {
                let digest = <$kind>::digest(text.get(row).as_bytes());
                match as_hex {
                    true => digest.iter().for_each(|byte| out.push_str(&format!("{byte:02X}"))),
                    false => push_bytes(out, &digest),
                }
                Ok(())
            })
        }
    )*};
}

digests! {
    /// `hex(MD5(text))`.
    md5_of md5::Md5;
    /// `hex(SHA224(text))`.
    sha224 sha2::Sha224;
    /// `hex(SHA256(text))`.
    sha256 sha2::Sha256;
    /// `hex(SHA512(text))`.
    sha512 sha2::Sha512;
}

/// `halfMD5(text)`: the first half, big-endian.
pub fn half_md5(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    args.numbers::<UInt64Type>(|row| {
        let digest = md5::Md5::digest(text.get(row).as_bytes());
        let mut half = [0; 8];
        half.copy_from_slice(&digest[..8]);
        Ok(Some(u64::from_be_bytes(half)))
    })
}

/// `CRC32(text)`.
pub fn crc32(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    args.numbers::<UInt32Type>(|row| {
        let crc = text.get(row).bytes().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                if crc & 1 == 1 {
                    (crc >> 1) ^ 0xEDB8_8320
                } else {
                    crc >> 1
                }
            })
        });
        Ok(Some(!crc))
    })
}

const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;
const K3: u64 = 0xc949_d7c7_509e_6557;

fn word(bytes: &[u8], at: usize) -> u64 {
    padded(&bytes[at..at + 8])
}

fn half(bytes: &[u8], at: usize) -> u64 {
    padded(&bytes[at..at + 4])
}

/// Mixes 128 bits into 64: cityHash64's combination of two hashes, too.
fn city_of_two(low: u64, high: u64) -> u64 {
    const MULTIPLIER: u64 = 0x9ddf_ea08_eb38_2d69;
    let mut a = (low ^ high).wrapping_mul(MULTIPLIER);
    a ^= a >> 47;
    let mut b = (high ^ a).wrapping_mul(MULTIPLIER);
    b ^= b >> 47;
    b.wrapping_mul(MULTIPLIER)
}

fn shifted(value: u64) -> u64 {
    value ^ (value >> 47)
}

/// CityHash64 1.0.2, by Google's published algorithm.
fn city64(bytes: &[u8]) -> u64 {
    match bytes.len() {
        0..=16 => city_16(bytes),
        17..=32 => city_32(bytes),
        33..=64 => city_64(bytes),
        _ => city_long(bytes),
    }
}

fn city_16(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    match length {
        9.. => {
            let (a, b) = (word(bytes, 0), word(bytes, length - 8));
            city_of_two(a, b.wrapping_add(length as u64).rotate_right(length as u32)) ^ b
        }
        4..=8 => {
            let a = half(bytes, 0);
            city_of_two((length as u64).wrapping_add(a << 3), half(bytes, length - 4))
        }
        1..=3 => {
            let (a, b, c) = (bytes[0], bytes[length >> 1], bytes[length - 1]);
            let y = u64::from(a) + (u64::from(b) << 8);
            let z = length as u64 + (u64::from(c) << 2);
            shifted(y.wrapping_mul(K2) ^ z.wrapping_mul(K3)).wrapping_mul(K2)
        }
        _ => K2,
    }
}

fn city_32(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let a = word(bytes, 0).wrapping_mul(K1);
    let b = word(bytes, 8);
    let c = word(bytes, length - 8).wrapping_mul(K2);
    let d = word(bytes, length - 16).wrapping_mul(K0);
    city_of_two(
        a.wrapping_sub(b)
            .rotate_right(43)
            .wrapping_add(c.rotate_right(30))
            .wrapping_add(d),
        a.wrapping_add((b ^ K3).rotate_right(20))
            .wrapping_sub(c)
            .wrapping_add(length as u64),
    )
}

fn city_64(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let mut z = word(bytes, 24);
    let mut a = word(bytes, 0).wrapping_add((length as u64).wrapping_add(word(bytes, length - 16)).wrapping_mul(K0));
    let mut b = a.wrapping_add(z).rotate_right(52);
    let mut c = a.rotate_right(37);
    a = a.wrapping_add(word(bytes, 8));
    c = c.wrapping_add(a.rotate_right(7));
    a = a.wrapping_add(word(bytes, 16));
    let vf = a.wrapping_add(z);
    let vs = b.wrapping_add(a.rotate_right(31)).wrapping_add(c);
    a = word(bytes, 16).wrapping_add(word(bytes, length - 32));
    z = word(bytes, length - 8);
    b = a.wrapping_add(z).rotate_right(52);
    c = a.rotate_right(37);
    a = a.wrapping_add(word(bytes, length - 24));
    c = c.wrapping_add(a.rotate_right(7));
    a = a.wrapping_add(word(bytes, length - 16));
    let wf = a.wrapping_add(z);
    let ws = b.wrapping_add(a.rotate_right(31)).wrapping_add(c);
    let r = shifted(
        vf.wrapping_add(ws)
            .wrapping_mul(K2)
            .wrapping_add(wf.wrapping_add(vs).wrapping_mul(K0)),
    );
    shifted(r.wrapping_mul(K0).wrapping_add(vs)).wrapping_mul(K2)
}

/// Hashes 32 bytes with two seeds.
fn weak(bytes: &[u8], at: usize, a: u64, b: u64) -> (u64, u64) {
    let (w, x, y, z) = (
        word(bytes, at),
        word(bytes, at + 8),
        word(bytes, at + 16),
        word(bytes, at + 24),
    );
    let mut a = a.wrapping_add(w);
    let mut b = b.wrapping_add(a).wrapping_add(z).rotate_right(21);
    let c = a;
    a = a.wrapping_add(x).wrapping_add(y);
    b = b.wrapping_add(a.rotate_right(44));
    (a.wrapping_add(z), b.wrapping_add(c))
}

fn city_long(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let mut x = word(bytes, 0);
    let mut y = word(bytes, length - 16) ^ K1;
    let mut z = word(bytes, length - 56) ^ K0;
    let mut v = weak(bytes, length - 64, length as u64, y);
    let mut w = weak(bytes, length - 32, (length as u64).wrapping_mul(K1), K0);
    z = z.wrapping_add(shifted(v.1).wrapping_mul(K1));
    x = z.wrapping_add(x).rotate_right(39).wrapping_mul(K1);
    y = y.rotate_right(33).wrapping_mul(K1);
    let mut at = 0;
    let mut left = (length - 1) & !63;
    loop {
        x = x
            .wrapping_add(y)
            .wrapping_add(v.0)
            .wrapping_add(word(bytes, at + 16))
            .rotate_right(37)
            .wrapping_mul(K1);
        y = y
            .wrapping_add(v.1)
            .wrapping_add(word(bytes, at + 48))
            .rotate_right(42)
            .wrapping_mul(K1);
        x ^= w.1;
        y ^= v.0;
        z = (z ^ w.0).rotate_right(33);
        v = weak(bytes, at, v.1.wrapping_mul(K1), x.wrapping_add(w.0));
        w = weak(bytes, at + 32, z.wrapping_add(w.1), y);
        std::mem::swap(&mut z, &mut x);
        at += 64;
        left -= 64;
        if left == 0 {
            break;
        }
    }
    city_of_two(
        city_of_two(v.0, w.0)
            .wrapping_add(shifted(y).wrapping_mul(K1))
            .wrapping_add(z),
        city_of_two(v.1, w.1).wrapping_add(x),
    )
}

/// `hex(x)`; of a digest, which is no text, its own hexadecimal form.
pub fn hex(call: super::Call) -> crate::error::Result<datafusion::sql::sqlparser::ast::Expr> {
    use datafusion::sql::sqlparser::ast::Expr;
    let [value] = call.exactly()?;
    if let Expr::Function(function) = &value {
        let inner = super::Call::new(function.clone())?;
        let digest = inner
            .name
            .strip_prefix(super::PREFIX)
            .filter(|name| name.starts_with("SHA") || *name == "MD5");
        if let Some(digest) = digest {
            return Ok(super::build::function(
                &format!("{}hex{digest}", super::PREFIX),
                inner.args,
            ));
        }
    }
    Ok(super::build::function("ch_hexOf", vec![value]))
}
