use super::*;
use engine::ProjectId;
use serde_json::json;

const NOW: Micros = 1_800_000_000_000_000;

fn headers(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    headers
}

fn accepts(token: &str, secrets: &[Secret], now: Micros) -> bool {
    is_operator(&headers(token), secrets.iter(), now)
}

#[test]
fn a_token_is_good_for_a_minute_with_any_secret_of_the_server() {
    let (new, old) = (Secret::new("new secret"), Secret::new("old secret"));
    let token = mint(&old, NOW).unwrap();
    assert!(accepts(&token, &[new.clone(), old.clone()], NOW));
    assert!(!accepts(&token, std::slice::from_ref(&new), NOW));
    let second = SECOND_MICROS;
    assert!(accepts(&token, std::slice::from_ref(&old), NOW + 60 * second));
    assert!(!accepts(&token, std::slice::from_ref(&old), NOW + 91 * second));
    assert!(!accepts(&token, &[old], NOW - 31 * second), "made in the future");
}

#[test]
fn no_token_of_a_client_is_one() {
    let secret = Secret::new("the api secret");
    let sign = |key: &[u8], claims: &serde_json::Value| {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(key)).unwrap()
    };
    let project = ProjectId::new("shop").unwrap();
    let client = crate::auth::jwt::mint(secret.expose().as_bytes(), "appId", &project, NOW, 60).unwrap();
    let seconds = NOW / SECOND_MICROS;
    let right = json!({"aud": AUDIENCE, "iat": seconds, "exp": seconds + 60});
    let long = json!({"aud": AUDIENCE, "iat": seconds, "exp": seconds + 86_400});
    let other = json!({"aud": "tally", "iat": seconds, "exp": seconds + 60});
    let more = json!({"aud": AUDIENCE, "iat": seconds, "exp": seconds + 60, "appId": "shop"});
    let forged = [
        client,
        // Whoever mints clients' tokens with the secret itself makes no operator of himself by a claim.
        sign(secret.expose().as_bytes(), &right),
        sign(&key(&secret), &long),
        sign(&key(&secret), &other),
        sign(&key(&secret), &more),
        String::new(),
        "a.b.c".to_owned(),
    ];
    for token in forged {
        assert!(!accepts(&token, std::slice::from_ref(&secret), NOW), "{token}");
    }
    assert!(accepts(
        &sign(&key(&secret), &right),
        std::slice::from_ref(&secret),
        NOW
    ));
    assert!(!is_operator(&HeaderMap::new(), std::iter::once(&secret), NOW));
}
