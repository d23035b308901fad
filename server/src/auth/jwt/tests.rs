use super::*;
use axum::http::HeaderValue;

const NOW: Micros = 1_700_000_000 * SECOND_MICROS;

fn verifier(secrets: &[&str]) -> Verifier {
    Verifier::new(&TokenRules {
        secrets: secrets.iter().map(|s| s.as_bytes().to_vec()).collect(),
        ..TokenRules::default()
    })
}

fn signed(algorithm: Algorithm, secret: &str, claims: Value) -> String {
    jsonwebtoken::encode(
        &Header::new(algorithm),
        &claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .unwrap()
}

fn authorize(token: &str, only: Option<&str>) -> Result<String, AuthError> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(token).unwrap());
    let only = only.map(|id| ProjectId::new(id).unwrap());
    let context = verifier(&["a", "b"]).authorize(&headers, NOW, || only)?;
    Ok(context.project().to_string())
}

#[test]
fn the_token_stands_in_either_header_bare_or_after_a_scheme() {
    let with = |name: &'static str, value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        headers
    };
    assert_eq!(token_of(&with("authorization", "abc")), Some("abc"));
    assert_eq!(token_of(&with("authorization", "Bearer abc")), Some("abc"));
    assert_eq!(token_of(&with("authorization", "Bearer")), Some("Bearer"));
    assert_eq!(token_of(&with("authorization", "")), None);
    assert_eq!(token_of(&with("authorization", "Bearer ")), None);
    let mut both = with("authorization", "one");
    both.insert("x-cube-authorization", HeaderValue::from_static("two"));
    assert_eq!(token_of(&both), Some("two"));
}

#[test]
fn any_secret_and_any_hmac_may_have_signed() {
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(
            authorize(&signed(algorithm, "b", json!({"appId": "gitlab_project_7"})), None).unwrap(),
            "gitlab_project_7"
        );
    }
    assert_eq!(
        authorize(&signed(Algorithm::HS256, "c", json!({"appId": "x"})), None),
        Err(AuthError::Invalid)
    );
    assert_eq!(authorize("Bearer", None), Err(AuthError::Invalid));
}

#[test]
fn unsigned_tokens_are_refused() {
    let unsigned = "eyJhbGciOiJub25lIn0.eyJhcHBJZCI6IngifQ.";
    assert_eq!(authorize(unsigned, None), Err(AuthError::Invalid));
    assert_eq!(
        authorize(&"x".repeat(TOKEN_BYTES_MAX + 1), None),
        Err(AuthError::Invalid)
    );
}

#[test]
fn times_are_checked_with_leeway_and_may_be_absent() {
    let at = |name: &str, seconds: i64| {
        signed(
            Algorithm::HS256,
            "a",
            json!({"appId": "x", name: 1_700_000_000 + seconds}),
        )
    };
    assert!(authorize(&at("exp", 1), None).is_ok());
    assert!(authorize(&at("exp", 1 - LEEWAY_SECONDS), None).is_ok());
    assert_eq!(authorize(&at("exp", -LEEWAY_SECONDS), None), Err(AuthError::Invalid));
    assert!(authorize(&at("nbf", LEEWAY_SECONDS), None).is_ok());
    assert_eq!(authorize(&at("nbf", LEEWAY_SECONDS + 1), None), Err(AuthError::Invalid));
    let text = signed(Algorithm::HS256, "a", json!({"appId": "x", "exp": "never"}));
    assert_eq!(authorize(&text, None), Err(AuthError::Invalid));
}

#[test]
fn an_audience_is_no_reason_to_refuse_unless_one_is_configured() {
    let token = signed(Algorithm::HS256, "a", json!({"appId": "x", "aud": "someone"}));
    assert_eq!(authorize(&token, None).unwrap(), "x");
    let strict = Verifier::new(&TokenRules {
        secrets: vec![b"a".to_vec()],
        audiences: vec!["tally".to_owned()],
        ..TokenRules::default()
    });
    assert_eq!(strict.verify(&token, NOW), Err(AuthError::Invalid));
    let without = signed(Algorithm::HS256, "a", json!({"appId": "x"}));
    assert_eq!(strict.verify(&without, NOW), Err(AuthError::Invalid));
}

#[test]
fn the_project_comes_from_the_claim_and_otherwise_only_from_a_single_project() {
    let with = |claims: Value| signed(Algorithm::HS256, "a", claims);
    assert_eq!(authorize(&with(json!({"appId": 42})), Some("only")).unwrap(), "42");
    assert_eq!(
        authorize(&with(json!({"u": {"appId": "inner"}, "appId": "outer"})), None).unwrap(),
        "inner"
    );
    assert_eq!(authorize(&with(json!({})), Some("only")).unwrap(), "only");
    assert_eq!(authorize(&with(json!({})), None), Err(AuthError::NoProject));
    assert_eq!(
        authorize(&with(json!({"appId": "../other"})), Some("only")),
        Err(AuthError::NoProject)
    );
}

#[test]
fn a_minted_token_is_accepted_until_it_expires() {
    let project = ProjectId::new("demo").unwrap();
    let token = mint(b"a", "appId", &project, NOW, 60).unwrap();
    assert_eq!(authorize(&token, None).unwrap(), "demo");
    let late = verifier(&["a"]).verify(&token, NOW + (60 + LEEWAY_SECONDS) * SECOND_MICROS);
    assert_eq!(late, Err(AuthError::Invalid));
}
