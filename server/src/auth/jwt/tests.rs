use super::super::jwks::{Fetch, Fetched};
use super::*;
use axum::http::HeaderValue;
use futures::FutureExt;
use futures::future::BoxFuture;

const NOW: Micros = 1_700_000_000 * SECOND_MICROS;
const RSA: &str = include_str!("../testdata/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../testdata/rsa_public.pem");
const EC: &str = include_str!("../testdata/ec.pem");
const EC_PUBLIC: &str = include_str!("../testdata/ec_public.pem");

fn secrets(secrets: &[&str]) -> KeySource {
    KeySource::Secrets(secrets.iter().map(|s| s.as_bytes().to_vec()).collect())
}

fn verifier(rules: TokenRules) -> Verifier {
    Verifier::new(rules).unwrap()
}

fn by_secrets(names: &[&str]) -> Verifier {
    verifier(TokenRules {
        keys: secrets(names),
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

/// A token with header and claims as they are written here, signed with the secret `a`.
fn written(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(b"a");
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn check(verifier: &Verifier, token: &str) -> Result<Map<String, Value>, AuthError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(verifier.verify(token, NOW))
}

fn authorize(token: &str, only: Option<&str>) -> Result<String, AuthError> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(token).unwrap());
    let only = only.map(|id| ProjectId::new(id).unwrap());
    let verifier = by_secrets(&["a", "b"]);
    let context = verifier.authorize(&headers, NOW, || only).now_or_never();
    Ok(context.expect("nothing to wait for")?.project().to_string())
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
fn an_expired_token_of_an_older_secret_is_refused_as_such() {
    let expired = signed(Algorithm::HS256, "b", json!({"appId": "x", "exp": 1}));
    assert_eq!(authorize(&expired, None), Err(AuthError::Invalid));
}

#[test]
fn hostile_tokens_are_refused() {
    let good = r#"{"alg":"HS256","typ":"JWT"}"#;
    let claims = r#"{"appId":"x"}"#;
    assert!(authorize(&written(good, claims), None).is_ok());
    let cases: &[(&str, String)] = &[
        ("unsigned", "eyJhbGciOiJub25lIn0.eyJhcHBJZCI6IngifQ.".to_owned()),
        ("alg none with a signature", written(r#"{"alg":"none"}"#, claims)),
        ("alg None", written(r#"{"alg":"None"}"#, claims)),
        ("alg in lower case", written(r#"{"alg":"hs256"}"#, claims)),
        ("no alg", written(r#"{"typ":"JWT"}"#, claims)),
        ("alg is no text", written(r#"{"alg":["HS256"]}"#, claims)),
        ("two algs", written(r#"{"alg":"none","alg":"HS256"}"#, claims)),
        ("another alg than signed", written(r#"{"alg":"HS512"}"#, claims)),
        ("crit", written(r#"{"alg":"HS256","crit":["exp"]}"#, claims)),
        (
            "crit b64",
            written(r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, claims),
        ),
        ("two projects", written(good, r#"{"appId":"x","appId":"y"}"#)),
        (
            "a name twice deep down",
            written(good, r#"{"appId":"x","u":{"a":1,"a":2}}"#),
        ),
        ("exp as text", written(good, r#"{"appId":"x","exp":"9999999999"}"#)),
        ("exp null", written(good, r#"{"appId":"x","exp":null}"#)),
        ("exp true", written(good, r#"{"appId":"x","exp":true}"#)),
        ("exp infinite", written(good, r#"{"appId":"x","exp":1e999}"#)),
        ("exp negative", written(good, r#"{"appId":"x","exp":-1}"#)),
        ("nbf as list", written(good, r#"{"appId":"x","nbf":[0]}"#)),
        ("iat as text", written(good, r#"{"appId":"x","iat":"now"}"#)),
        ("claims are a list", written(good, r#"["appId"]"#)),
        ("claims go on", written(good, r#"{"appId":"x"}{}"#)),
        (
            "claims too deep",
            written(good, &format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40))),
        ),
        ("huge", "x".repeat(TOKEN_BYTES_MAX + 1)),
        ("four parts", format!("{}.x", written(good, claims))),
        ("two parts", "a.b".to_owned()),
        ("empty parts", "..".to_owned()),
        ("padding", written(good, claims).replace('.', "=.")),
        (
            "signature cut off",
            written(good, claims).trim_end_matches(|c| c != '.').to_owned(),
        ),
    ];
    for (name, token) in cases {
        assert_eq!(authorize(token, None), Err(AuthError::Invalid), "{name}");
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    let by_key = verifier(TokenRules {
        keys: KeySource::Pem(RSA_PUBLIC.to_owned()),
        ..TokenRules::default()
    });
    let rsa = EncodingKey::from_rsa_pem(RSA.as_bytes()).unwrap();
    let claims = json!({"appId": "x"});
    for algorithm in [Algorithm::RS256, Algorithm::PS512] {
        let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, &rsa).unwrap();
        assert!(check(&by_key, &token).is_ok());
        assert_eq!(check(&by_secrets(&[RSA_PUBLIC]), &token), Err(AuthError::Invalid));
    }
    let confused = signed(Algorithm::HS256, RSA_PUBLIC, claims.clone());
    assert_eq!(check(&by_key, &confused), Err(AuthError::Invalid));
    let by_curve = verifier(TokenRules {
        keys: KeySource::Pem(EC_PUBLIC.to_owned()),
        ..TokenRules::default()
    });
    let ec = EncodingKey::from_ec_pem(EC.as_bytes()).unwrap();
    let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &ec).unwrap();
    assert!(check(&by_curve, &token).is_ok());
    assert_eq!(check(&by_key, &token), Err(AuthError::Invalid));
}

#[test]
fn only_allowed_algorithms_are_accepted_and_some_must_fit() {
    let rules = |algorithms: &[Algorithm]| TokenRules {
        keys: secrets(&["a"]),
        algorithms: algorithms.to_vec(),
        ..TokenRules::default()
    };
    let only = verifier(rules(&[Algorithm::HS512, Algorithm::RS256]));
    assert!(check(&only, &signed(Algorithm::HS512, "a", json!({}))).is_ok());
    assert_eq!(
        check(&only, &signed(Algorithm::HS256, "a", json!({}))),
        Err(AuthError::Invalid)
    );
    assert!(Verifier::new(rules(&[Algorithm::RS256])).is_err());
}

/// The key set of `testdata`, always the same.
struct Provider;

impl Fetch for Provider {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, String>> {
        let body = include_str!("../testdata/jwks.json").into();
        async move { Ok(Fetched { body, max_age: None }) }.boxed()
    }
}

fn by_provider() -> Verifier {
    verifier(TokenRules {
        keys: KeySource::Provider(Arc::new(Jwks::new(Box::new(Provider), Vec::new()))),
        ..TokenRules::default()
    })
}

#[test]
fn tokens_of_a_provider_are_verified_with_the_key_they_name() {
    let verifier = by_provider();
    let rsa = EncodingKey::from_rsa_pem(RSA.as_bytes()).unwrap();
    let ec = EncodingKey::from_ec_pem(EC.as_bytes()).unwrap();
    let token = |kid: Option<&str>, algorithm: Algorithm, key: &EncodingKey| {
        let header = Header {
            kid: kid.map(str::to_owned),
            // Addresses in a token are not looked at.
            jku: Some("http://127.0.0.1:1/jwks.json".to_owned()),
            x5u: Some("http://127.0.0.1:1/cert".to_owned()),
            ..Header::new(algorithm)
        };
        jsonwebtoken::encode(&header, &json!({"appId": "x", "iss": "http://127.0.0.1:1"}), key).unwrap()
    };
    assert!(check(&verifier, &token(Some("rsa-1"), Algorithm::RS256, &rsa)).is_ok());
    assert!(check(&verifier, &token(Some("ec-1"), Algorithm::ES256, &ec)).is_ok());
    let refused = |token: &str| check(&verifier, token).unwrap_err();
    // The key says RS256.
    assert_eq!(
        refused(&token(Some("rsa-1"), Algorithm::RS512, &rsa)),
        AuthError::Invalid
    );
    assert_eq!(
        refused(&token(Some("ec-1"), Algorithm::RS256, &rsa)),
        AuthError::Invalid
    );
    let symmetric = EncodingKey::from_secret(b"a public secret is none");
    assert_eq!(
        refused(&token(Some("symmetric"), Algorithm::HS256, &symmetric)).to_string(),
        "Unable to verify, JWK with kid: \"symmetric\" not found"
    );
    let confused = EncodingKey::from_secret(RSA_PUBLIC.as_bytes());
    assert_eq!(
        refused(&token(Some("rsa-1"), Algorithm::HS256, &confused)),
        AuthError::Invalid
    );
    assert_eq!(refused(&token(None, Algorithm::RS256, &rsa)), AuthError::NoKid);
    assert_eq!(refused("no token at all"), AuthError::Undecodable);
    assert_eq!(refused("a.b.c"), AuthError::Undecodable);
    let long = "k".repeat(2000);
    assert!(refused(&token(Some(&long), Algorithm::RS256, &rsa)).to_string().len() < 200);
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
    let strict = verifier(TokenRules {
        keys: secrets(&["a"]),
        require_exp: true,
        ..TokenRules::default()
    });
    assert!(check(&strict, &at("exp", 60)).is_ok());
    assert_eq!(check(&strict, &at("nbf", 0)), Err(AuthError::Invalid));
}

#[test]
fn parties_are_no_reason_to_refuse_unless_they_are_configured() {
    let with = |claims: Value| signed(Algorithm::HS256, "a", claims);
    let token = with(json!({"appId": "x", "aud": "someone", "iss": "else", "sub": "me"}));
    assert_eq!(authorize(&token, None).unwrap(), "x");
    let strict = verifier(TokenRules {
        keys: secrets(&["a"]),
        audiences: vec!["tally".to_owned()],
        issuers: vec!["one".to_owned(), "two".to_owned()],
        subject: Some("me".to_owned()),
        ..TokenRules::default()
    });
    let right = json!({"aud": ["other", "tally"], "iss": "two", "sub": "me"});
    assert!(check(&strict, &with(right.clone())).is_ok());
    assert_eq!(check(&strict, &token), Err(AuthError::Invalid));
    for name in ["aud", "iss", "sub"] {
        for wrong in [Value::Null, json!("x"), json!({"a": "tally"}), json!(1)] {
            let mut claims = right.clone();
            claims[name] = wrong;
            assert_eq!(check(&strict, &with(claims)), Err(AuthError::Invalid), "{name}");
        }
        let mut claims = right.clone();
        claims.as_object_mut().unwrap().remove(name);
        assert_eq!(check(&strict, &with(claims)), Err(AuthError::Invalid), "{name}");
    }
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

fn context(rules: ContextRules, claims: Value) -> SecurityContext {
    let Value::Object(claims) = claims else { panic!() };
    SecurityContext::from_claims(claims, &rules, || Some(ProjectId::new("only").unwrap())).unwrap()
}

#[test]
fn a_context_is_the_claims_without_those_of_the_single_token() {
    let claims = json!({"appId": "p", "team": "a", "iat": 1, "exp": 2, "nbf": 3, "jti": "4"});
    let one = context(ContextRules::default(), claims.clone());
    assert_eq!(**one.claims(), json!({"appId": "p", "team": "a"}));
    let mut later = claims.clone();
    later["iat"] = json!(100);
    assert_eq!(one.identity(), context(ContextRules::default(), later).identity());
    for (name, value) in [("team", "b"), ("appId", "q")] {
        let mut other = claims.clone();
        other[name] = json!(value);
        assert_ne!(one.identity(), context(ContextRules::default(), other).identity());
    }
}

#[test]
fn a_namespace_is_the_context_and_the_project_may_stand_beside_it() {
    let rules = ContextRules {
        namespace: Some("https://example.com/".to_owned()),
        ..ContextRules::default()
    };
    let found = context(
        rules.clone(),
        json!({"appId": "p", "team": "outside", "https://example.com/": {"team": "inside", "groups": ["g"]}}),
    );
    assert_eq!(found.project().as_str(), "p");
    assert_eq!(**found.claims(), json!({"team": "inside", "groups": ["g"]}));
    assert_eq!(**found.groups(), ["g".to_owned()]);
    assert_eq!(**context(rules, json!({"team": "outside"})).claims(), json!({}));
}

#[test]
fn groups_roles_and_scopes_come_from_the_claims_that_the_settings_name() {
    let found = context(
        ContextRules::default(),
        json!({"groups": ["a", 1, "b"], "roles": "admin"}),
    );
    assert_eq!(**found.groups(), ["a".to_owned(), "b".to_owned()]);
    assert_eq!(**found.roles(), ["admin".to_owned()]);
    assert!(found.may(super::super::Scope::Data) && !found.may(super::super::Scope::Jobs));
    let rules = ContextRules {
        groups: "realm.groups".to_owned(),
        scopes_claim: Some("scope".to_owned()),
        ..ContextRules::default()
    };
    let found = context(
        rules.clone(),
        json!({"realm": {"groups": ["x"]}, "scope": "openid jobs meta"}),
    );
    assert_eq!(**found.groups(), ["x".to_owned()]);
    assert!(found.may(super::super::Scope::Jobs) && found.may(super::super::Scope::Meta));
    assert!(!found.may(super::super::Scope::Data));
    assert!(context(rules.clone(), json!({})).may(super::super::Scope::Data));
    assert!(!context(rules, json!({"scope": 7})).may(super::super::Scope::Data));
}

#[test]
fn a_minted_token_is_accepted_until_it_expires() {
    let project = ProjectId::new("demo").unwrap();
    let token = mint(b"a", "appId", &project, NOW, 60).unwrap();
    assert_eq!(authorize(&token, None).unwrap(), "demo");
    let verifier = by_secrets(&["a"]);
    let late = verifier.verify(&token, NOW + (60 + LEEWAY_SECONDS) * SECOND_MICROS);
    assert_eq!(late.now_or_never().unwrap(), Err(AuthError::Invalid));
}
