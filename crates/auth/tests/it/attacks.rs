//! More attacks on the verifier, each with its exact refusal: forged signatures, confused algorithms, injected identifiers,
//! claims of wrong forms, and texts that are almost a token.

use crate::support::{
    AUDIENCE, ISSUER, Issuer, Rig, START, SigningKey, Step, b64, claims, instances, jwks, test_clock,
};
use artstore_auth::{Algorithm, JwksSource, KeySet, TokenVerifier, VerifierSettings, VerifyError};
use artstore_metrics::{Clock, TestClock};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA512, RSA_PSS_SHA256};
use serde_json::{Value, json};
use std::sync::Arc;

const NOT_THREE: VerifyError = VerifyError::Malformed("the token has not three parts");
const NOT_BASE64: VerifyError = VerifyError::Malformed("a part is not base64url");
const NO_HEADER: VerifyError = VerifyError::Malformed("the header is not a JSON object");
const NO_PAYLOAD: VerifyError = VerifyError::Malformed("the payload is not a JSON object");
const TOO_LONG: VerifyError = VerifyError::Malformed("the token is too long");

/// A verifier with one key of each algorithm, whose identifiers are `e`, `p` and `r`.
struct Target {
    ed: SigningKey,
    p256: SigningKey,
    rsa: SigningKey,
    verifier: TokenVerifier<TestClock>,
}

impl Target {
    fn new() -> Self {
        let (ed, p256, rsa) = (SigningKey::ed25519(), SigningKey::p256(), SigningKey::rsa());
        let document = jwks(&[ed.jwk("e"), p256.jwk("p"), rsa.jwk("r")]).to_string();
        let keys = Arc::new(KeySet::parse(document.as_bytes(), &Algorithm::ALL).unwrap());
        let source = JwksSource::Local(Arc::new(move || Arc::clone(&keys)));
        let verifier = TokenVerifier::new(VerifierSettings::new(ISSUER, AUDIENCE, source), None, test_clock());
        Self { ed, p256, rsa, verifier: verifier.unwrap() }
    }

    async fn refuses(&self, attacks: impl IntoIterator<Item = (String, VerifyError)>) {
        let mut count = 0;
        for (token, error) in attacks {
            assert_eq!(self.verifier.verify(&token).await, Err(error), "{token}");
            count += 1;
        }
        println!("{count} attacks refused");
        // The attacks fail for their own reasons: beside them, good tokens pass.
        for (key, kid) in [(&self.ed, "e"), (&self.p256, "p"), (&self.rsa, "r")] {
            self.verifier.verify(&key.good_token(kid, test_clock().wall())).await.unwrap();
        }
    }

    /// A token of the Ed25519 key with this in its header.
    fn header(&self, changes: &Value) -> String {
        self.ed.token(&changed(self.ed.header("e"), changes).to_string(), &payload())
    }

    /// A token of the Ed25519 key with this in its claims.
    fn claim(&self, name: &str, value: Value) -> String {
        let mut claims = good_claims();
        claims[name] = value;
        self.ed.token(&self.ed.header("e").to_string(), &claims.to_string())
    }

    /// A token of the Ed25519 key whose claims hold this text somewhere.
    fn raw(&self, members: &str) -> String {
        self.ed.token(&self.ed.header("e").to_string(), &payload().replacen('{', &format!("{{{members},"), 1))
    }
}

fn good_claims() -> Value {
    claims(test_clock().wall())
}

fn payload() -> String {
    good_claims().to_string()
}

fn changed(mut object: Value, changes: &Value) -> Value {
    object.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    object
}

/// The claims without one of them.
fn without(name: &str) -> String {
    let mut claims = good_claims();
    claims.as_object_mut().unwrap().remove(name);
    claims.to_string()
}

fn signed(header: &Value, payload: &[u8], sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", b64(header.to_string().as_bytes()), b64(payload));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", b64(&signature))
}

#[tokio::test(start_paused = true)]
async fn no_signature_and_a_public_key_as_shared_secret_are_no_algorithms() {
    let target = Target::new();
    let mut attacks = Vec::new();
    for name in ["none", "None", "NONE", "nOnE", "none ", "\u{0}none", "null"] {
        for signature in [vec![], vec![0; 64]] {
            let header = json!({"typ": "at+jwt", "alg": name, "kid": "e"});
            attacks.push((signed(&header, payload().as_bytes(), |_| signature), VerifyError::Algorithm));
        }
    }
    // RS256 to HS256: whatever form of the public key an attacker takes for the secret.
    for (key, kid) in [(&target.rsa, "r"), (&target.p256, "p"), (&target.ed, "e")] {
        let jwk = key.jwk(kid);
        let first = jwk.get("n").or_else(|| jwk.get("x")).unwrap().as_str().unwrap().to_owned();
        let raw = match key {
            SigningKey::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            SigningKey::P256(pair) => pair.public_key().as_ref().to_vec(),
            SigningKey::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        };
        for secret in [raw, first.into_bytes(), jwk.to_string().into_bytes()] {
            for (name, error) in [("HS256", VerifyError::Algorithm), (key.algorithm(), VerifyError::Signature)] {
                let sign =
                    |message: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message).as_ref().to_vec();
                let header = json!({"typ": "at+jwt", "alg": name, "kid": kid});
                attacks.push((signed(&header, payload().as_bytes(), sign), error));
            }
        }
    }
    for name in ["HS384", "RS384", "RS512", "PS256", "ES384", "ES256K", "Ed25519", "RSA1_5", "dir", "ES521"] {
        attacks.push((target.header(&json!({ "alg": name })), VerifyError::Algorithm));
    }
    attacks.push((target.header(&json!({"alg": ["EdDSA"]})), VerifyError::Algorithm));
    attacks.push((target.header(&json!({"alg": null})), VerifyError::Algorithm));
    target.refuses(attacks).await;
}

#[tokio::test(start_paused = true)]
async fn forged_and_reshaped_signatures_are_refused() {
    /// The order of P-256 and, little-endian, that of Ed25519's base point.
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let target = Target::new();
    let mut attacks = Vec::new();
    let mut forge = |key: &SigningKey, kid: &str, reshape: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let token = signed(&key.header(kid), payload().as_bytes(), |message| reshape(key.sign(message)));
        attacks.push((token, VerifyError::Signature));
    };
    // ES256: r and s of 0, of n, swapped, cut, grown.
    for (r, s) in
        [([0; 32], [0; 32]), ([0; 32], [1; 32]), ([1; 32], [0; 32]), (N, N), (N, [1; 32]), ([0xff; 32], [0xff; 32])]
    {
        forge(&target.p256, "p", &|_| [r, s].concat());
    }
    forge(&target.p256, "p", &|signature| [&signature[..32], &[0; 32]].concat());
    forge(&target.p256, "p", &|signature| [&[0; 32], &signature[32..]].concat());
    forge(&target.p256, "p", &|signature| [&signature[32..], &signature[..32]].concat());
    forge(&target.p256, "p", &|signature| signature[..63].to_vec());
    forge(&target.p256, "p", &|signature| [&[0], &signature[..]].concat());
    // Ed25519: S + L is the same number to a careless verifier.
    forge(&target.ed, "e", &|mut signature| {
        let mut carry = 0;
        for (byte, add) in signature[32..].iter_mut().zip(L) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
        }
        signature
    });
    forge(&target.ed, "e", &|_| [&[1][..], &[0; 63]].concat());
    forge(&target.ed, "e", &|signature| signature[..63].to_vec());
    forge(&target.ed, "e", &|signature| [&signature[..], &[0]].concat());
    forge(&target.ed, "e", &|mut signature| {
        signature[63] |= 0x80;
        signature
    });
    // RS256: another length, another padding, another hash, the trivial numbers.
    forge(&target.rsa, "r", &|signature| [&[0], &signature[..]].concat());
    forge(&target.rsa, "r", &|signature| signature[1..].to_vec());
    for filler in [0, 1, 0xff] {
        forge(&target.rsa, "r", &|_| vec![filler; 256]);
    }
    forge(&target.rsa, "r", &|_| [&[0; 255][..], &[1]].concat());
    let SigningKey::Rsa(pair) = &target.rsa else { unreachable!() };
    for padding in [&RSA_PSS_SHA256, &RSA_PKCS1_SHA512] {
        let sign = |message: &[u8]| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        };
        attacks.push((signed(&target.rsa.header("r"), payload().as_bytes(), sign), VerifyError::Signature));
    }
    // A good signature of something else: of the payload alone, of another header, of the text without its dot.
    let header = target.ed.header("e");
    for message in [payload(), format!("{}{}", b64(header.to_string().as_bytes()), b64(payload().as_bytes()))] {
        let sign = |_: &[u8]| target.ed.sign(message.as_bytes());
        attacks.push((signed(&header, payload().as_bytes(), sign), VerifyError::Signature));
    }
    target.refuses(attacks).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_header_names_is_looked_up_and_nothing_else() {
    let target = Target::new();
    let evil = SigningKey::ed25519();
    let forged = |changes: &Value| evil.token(&changed(target.ed.header("e"), changes).to_string(), &payload());
    let mut attacks = vec![
        (forged(&json!({"jwk": evil.jwk("e"), "kid": null})), VerifyError::NoKeyId),
        (forged(&json!({"jwk": evil.jwk("mine"), "kid": "mine"})), VerifyError::UnknownKey),
        (forged(&json!({"jku": "https://evil/jwks", "kid": "mine"})), VerifyError::UnknownKey),
        (forged(&json!({"x5u": "https://evil/x5c", "x5t": "AAAA"})), VerifyError::Signature),
        (forged(&json!({"x5c": [b64(&[0x30; 300])], "x5t#S256": "AAAA"})), VerifyError::Signature),
        (forged(&json!({"epk": evil.jwk("e"), "enc": "A128GCM", "zip": "DEF"})), VerifyError::Signature),
        (target.header(&json!({"kid": "k".repeat(128)})), VerifyError::UnknownKey),
        (target.header(&json!({"kid": "k".repeat(129)})), VerifyError::NoKeyId),
        (target.header(&json!({"kid": "\u{e9}".repeat(65)})), VerifyError::NoKeyId),
        (target.header(&json!({"kid": 0})), VerifyError::NoKeyId),
        (target.header(&json!({"kid": {"e": "e"}})), VerifyError::NoKeyId),
        (target.header(&json!({"kid": true})), VerifyError::NoKeyId),
    ];
    let kids = [
        "e\0",
        "\0e",
        "E",
        " e",
        "e ",
        "e\n",
        "../e",
        "/dev/null",
        "../../../../etc/passwd",
        "e' OR '1'='1",
        "e; DROP TABLE keys",
        "${jndi:ldap://evil}",
        "e%00",
        "*",
        "__proto__",
        "\u{202e}e",
    ];
    attacks.extend(kids.map(|kid| (target.header(&json!({ "kid": kid })), VerifyError::UnknownKey)));
    let types = [
        json!("at+jwt "),
        json!(" at+jwt"),
        json!("at+jwt;v=1"),
        json!("application/application/at+jwt"),
        json!("text/at+jwt"),
        json!("at+jwt\0"),
        json!(["at+jwt"]),
        json!({}),
        json!(1),
        json!("JOSE"),
        json!("id_token"),
        json!("logout+jwt"),
        json!(""),
        json!("secevent+jwt"),
        json!("client-authentication+jwt"),
        json!("at\u{2b}\u{200b}jwt"),
    ];
    attacks.extend(types.map(|kind| (target.header(&json!({ "typ": kind })), VerifyError::Type)));
    let demands = [
        json!({"crit": null}),
        json!({"crit": "exp"}),
        json!({"crit": ["b64"], "b64": true}),
        json!({"crit": ["x"], "x": 1}),
        json!({"crit": ["kid"]}),
        json!({"b64": true}),
        json!({"b64": null}),
        json!({"crit": {}}),
    ];
    attacks.extend(demands.map(|demand| (target.header(&demand), VerifyError::Critical)));
    target.refuses(attacks).await;
}

#[tokio::test(start_paused = true)]
async fn no_address_inside_a_token_is_asked() {
    let (key, evil) = (SigningKey::ed25519(), SigningKey::ed25519());
    let rig = Rig::new(Issuer::new([], Step::json(200, &jwks(&[key.jwk("e")]))));
    let source = JwksSource::Remote { instances: instances(), transport: rig.issuer.transport() };
    let settings = VerifierSettings::new(ISSUER, AUDIENCE, source);
    let verifier = TokenVerifier::new(settings, rig.metrics.clone(), rig.clock.clone()).unwrap();
    for (kid, error) in [("e", VerifyError::Signature), ("mine", VerifyError::UnknownKey)] {
        let addresses =
            json!({"jku": "https://evil/jwks", "x5u": "https://evil/x5u", "iss": "https://evil", "kid": kid});
        let token = evil.token(&changed(evil.header(kid), &addresses).to_string(), &payload());
        assert_eq!(verifier.verify(&token).await, Err(error));
    }
    let asked: Vec<String> = rig.issuer.seen().iter().map(|seen| seen.head.uri.to_string()).collect();
    assert_eq!(asked, ["https://admin-1:8000/oauth2/jwks"]);
}

#[tokio::test(start_paused = true)]
async fn claims_of_every_wrong_form_are_refused() {
    let target = Target::new();
    let mut attacks = Vec::new();
    for name in ["exp", "iat", "nbf"] {
        let wrong = [
            json!(true),
            json!([START + 60]),
            json!({}),
            json!(""),
            json!("1e9"),
            json!(-1),
            json!(i64::MIN),
            json!(0.0),
            json!(-0.0),
            json!((START + 60) as f64),
            json!(1e19),
            json!(null),
            json!(f64::MIN_POSITIVE),
        ];
        attacks.extend(wrong.map(|value| (target.claim(name, value), VerifyError::InvalidClaim(name))));
        let twice = format!("\"{name}\":{}", START);
        attacks.push((target.raw(&twice), NO_PAYLOAD));
        attacks
            .push((target.raw(&twice.replacen(&name[..1], &format!("\\u{:04x}", name.as_bytes()[0]), 1)), NO_PAYLOAD));
        // Numbers that no reader can hold: 10^400 is none, 2^64 is a fraction.
        let replaced = |number: &str| {
            let payload = without(name).replacen('{', &format!("{{\"{name}\":{number},"), 1);
            target.ed.token(&target.ed.header("e").to_string(), &payload)
        };
        attacks.push((replaced("1e400"), NO_PAYLOAD));
        attacks.push((replaced("18446744073709551616"), VerifyError::InvalidClaim(name)));
        attacks.push((replaced("1800000060e0"), VerifyError::InvalidClaim(name)));
        attacks.push((replaced("0x6b49d200"), NO_PAYLOAD));
        attacks.push((replaced("01800000060"), NO_PAYLOAD));
        attacks.push((replaced("+1800000060"), NO_PAYLOAD));
        attacks.push((replaced("NaN"), NO_PAYLOAD));
    }
    let issuers = [
        "https://admin.example.org/",
        "https://admin.example.org:443",
        "http://admin.example.org",
        "https://admin.example.org.",
        " https://admin.example.org",
        "https://admin.example.org\0",
        "https://admin.example.org#",
        "https://admin%2eexample.org",
        "https://admin.example.org@evil",
        "admin.example.org",
        "https://\u{0430}dmin.example.org",
    ];
    attacks.extend(issuers.map(|issuer| (target.claim("iss", json!(issuer)), VerifyError::Issuer)));
    attacks.extend(
        [json!(null), json!(""), json!(1)].map(|iss| (target.claim("iss", iss), VerifyError::InvalidClaim("iss"))),
    );
    let audiences = [
        json!([]),
        json!(""),
        json!([""]),
        json!("ARTSTORE-ELEMENT"),
        json!("artstore-element/"),
        json!(["artstore-element "]),
        json!("artstore-admin artstore-element"),
        json!(["artstore-admin,artstore-element"]),
        json!("*"),
    ];
    attacks.extend(audiences.map(|audience| (target.claim("aud", audience), VerifyError::Audience)));
    let audiences =
        [json!(null), json!(1), json!([[AUDIENCE]]), json!([AUDIENCE, null]), json!({"0": AUDIENCE}), json!(true)];
    attacks.extend(audiences.map(|audience| (target.claim("aud", audience), VerifyError::InvalidClaim("aud"))));
    for name in ["sub", "client_id", "jti"] {
        let wrong = [json!(null), json!(""), json!(7), json!(["ingester"]), json!({}), json!(false)];
        attacks.extend(wrong.map(|value| (target.claim(name, value), VerifyError::InvalidClaim(name))));
        attacks.push((target.raw(&format!("\"{name}\":\"admin\"")), NO_PAYLOAD));
    }
    attacks.extend(
        [json!(null), json!(1), json!({})]
            .map(|value| (target.claim("scope", value), VerifyError::InvalidClaim("scope"))),
    );
    let bindings = [
        json!(null),
        json!({}),
        json!([]),
        json!({"x5t#S256": null}),
        json!({"x5t": b64(&[0; 32])}),
        json!({"x5t#S256": b64(&[0; 33])}),
        json!({"x5t#S256": format!("{}=", b64(&[0; 32]))}),
        json!({"x5t#S256": b64(&[0; 32]), "jwk": {}}),
        json!({"kid": "e"}),
    ];
    attacks.extend(bindings.map(|binding| (target.claim("cnf", binding), VerifyError::InvalidClaim("cnf"))));
    // A repeated member below the top decides as little.
    let (good, bad) = (b64(&[7; 32]), b64(&[8; 32]));
    attacks.push((target.raw(&format!("\"cnf\":{{\"x5t#S256\":\"{bad}\",\"x5t#S256\":\"{good}\"}}")), NO_PAYLOAD));
    attacks.push((target.raw("\"x\":[{\"a\":1,\"a\":1}]"), NO_PAYLOAD));
    target.refuses(attacks).await;
}

#[tokio::test(start_paused = true)]
async fn texts_that_are_almost_a_token_are_refused() {
    let target = Target::new();
    // A header and claims whose texts hold every kind of base64url character, `-` and `_` among them.
    let header = changed(target.ed.header("e"), &json!({"x": "?>?>?>~~~\u{ff}\u{ff}"}));
    let good = target.ed.token(&header.to_string(), &changed(good_claims(), &json!({"x": "?>?>?>~~~"})).to_string());
    target.verifier.verify(&good).await.unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let [head, body, tail] = parts[..] else { unreachable!() };
    assert!(head.contains('_') || head.contains('-') || body.contains('_') || body.contains('-'));
    let sign = |header: &[u8], payload: &[u8]| {
        let text = format!("{}.{}", b64(header), b64(payload));
        format!("{text}.{}", b64(&target.ed.sign(text.as_bytes())))
    };
    let (plain, json_header) = (payload(), target.ed.header("e").to_string());
    let deep = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let utf16: Vec<u8> = plain.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let attacks = [
        (good.replace('-', "+").replace('_', "/"), NOT_BASE64),
        (format!("{head}=.{body}.{tail}"), NOT_BASE64),
        (format!("{head}==.{body}.{tail}"), NOT_BASE64),
        (format!("{head}.{body}=.{tail}"), NOT_BASE64),
        (format!("{head}\n.{body}.{tail}"), NOT_BASE64),
        (format!("{}\r\n{}.{body}.{tail}", &head[..8], &head[8..]), NOT_BASE64),
        (format!(" {good}"), NOT_BASE64),
        (format!("\u{feff}{good}"), NOT_BASE64),
        (format!("{good}\0"), NOT_BASE64),
        (format!("{head}.{body}.{tail}A"), VerifyError::Signature),
        (format!("{head}.{body}.{}", &tail[..tail.len() - 1]), NOT_BASE64),
        (format!("{head}.{body}.{tail}.{tail}"), NOT_BASE64),
        (format!("{head}.{body}.{tail}.{tail}.{tail}"), NOT_BASE64),
        (format!("{head}..{tail}"), VerifyError::Signature),
        (format!(".{body}.{tail}"), NO_HEADER),
        (format!("{head}.{body}."), VerifyError::Signature),
        (format!("{body}.{head}.{tail}"), VerifyError::Algorithm),
        ("...".to_owned(), NO_HEADER),
        (".".to_owned(), NOT_THREE),
        ("Bearer".to_owned(), NOT_THREE),
        (json!({"protected": head, "payload": body, "signature": tail}).to_string(), NOT_THREE),
        (sign(json_header.as_bytes(), plain.replace(",\"", ", \"").trim_end_matches('}').as_bytes()), NO_PAYLOAD),
        (sign(json_header.as_bytes(), format!("\u{feff}{plain}").as_bytes()), NO_PAYLOAD),
        (sign(json_header.as_bytes(), format!("{plain}\0").as_bytes()), NO_PAYLOAD),
        (sign(json_header.as_bytes(), &utf16), NO_PAYLOAD),
        (sign(json_header.as_bytes(), b"null"), NO_PAYLOAD),
        (sign(json_header.as_bytes(), b""), NO_PAYLOAD),
        (sign(json_header.as_bytes(), &plain.replace("ingester", "\u{7f}").into_bytes().map_last(0xff)), NO_PAYLOAD),
        (sign(json_header.as_bytes(), plain.replacen('{', "{\"x\":\"\\ud800\",", 1).as_bytes()), NO_PAYLOAD),
        (sign(json_header.as_bytes(), plain.replacen('{', "{/**/", 1).as_bytes()), NO_PAYLOAD),
        (sign(json_header.as_bytes(), plain.replace('"', "'").as_bytes()), NO_PAYLOAD),
        (sign(json_header.as_bytes(), deep(5_000).as_bytes()), NO_PAYLOAD),
        (sign(deep(5_000).as_bytes(), plain.as_bytes()), NO_HEADER),
        (sign(b"{\"alg\":\"EdDSA\",\"kid\":\"e\",\"typ\":\"at+jwt\",\"x\":\"\xff\"}", plain.as_bytes()), NO_HEADER),
        (
            sign(b"{\"alg\":\"none\",\"\\u0061lg\":\"EdDSA\",\"kid\":\"e\",\"typ\":\"at+jwt\"}", plain.as_bytes()),
            NO_HEADER,
        ),
        (sign(b"{\"alg\":\"EdDSA\",\"kid\":\"x\",\"kid\":\"e\",\"typ\":\"at+jwt\"}", plain.as_bytes()), NO_HEADER),
        (sign(json_header.as_bytes(), " ".repeat(12 * 1024 + 100).as_bytes()), TOO_LONG),
        ("A".repeat(1024 * 1024), TOO_LONG),
    ];
    target.refuses(attacks).await;
}

/// The bytes with the last one replaced.
trait MapLast {
    fn map_last(self, byte: u8) -> Self;
}

impl MapLast for Vec<u8> {
    fn map_last(mut self, byte: u8) -> Self {
        let place = self.len() - 2;
        self[place] = byte;
        self
    }
}
