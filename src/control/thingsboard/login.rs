//! Logging in and out, and choosing passwords.
//!
//! Why a stranger's password is checked as well: the answer must not come sooner for names that nobody has.
//!
//! Invariants:
//! - A password is hashed on another thread, two at a time, and never logged.
//! - An address that guesses, one name or many, is refused before anything is hashed.
//!
//! Source: section 13.1 of the vectors.

use std::sync::OnceLock;

use axum::extract::State;
use axum::response::{Html, IntoResponse};
use device::{Change, User, UserId, random_word};

use super::asked::{Object, id};
use super::caller::{Caller, Peer};
use super::clock::chance;
use super::house::Api;
use super::refusal::Refusal;
use super::routes::{Route, get, post};
use super::shape::{Answer, empty_answer, json_answer, text_answer, user_json};
use super::tokens::Use;

/// Letters of a password.
const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 6..=1024;
/// Letters of a session's name.
const SESSION_LETTERS: usize = 24;

/// Where the activation link leads: it posts the token of its own address and a password.
const ACTIVATION_PAGE: &str = r#"<!doctype html>
<html lang="en"><meta charset="utf-8"><title>RingMQ: first password</title>
<form><label>Password <input type="password" minlength="6" required autocomplete="new-password"></label>
<button>Choose</button></form><output></output>
<script>
document.forms[0].onsubmit = async event => {
  event.preventDefault();
  const activateToken = new URLSearchParams(location.search).get("activateToken");
  const password = document.querySelector("input").value;
  const answer = await fetch("/api/noauth/activate", {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({activateToken, password}),
  });
  const told = await answer.json();
  document.querySelector("output").textContent = answer.ok ? "The password is set." : told.message;
};
</script></html>
"#;

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/api/auth/login", "Logs in; the answer has a token for the header X-Authorization.", login)
            .open()
            .body(r#"{"username":"tenant@thingsboard.org","password":"tenant"}"#),
        post("/api/auth/token", "Fetches new tokens.", refresh).open().body(r#"{"refreshToken":"ey.."}"#),
        post("/api/auth/logout", "Ends the session of the token.", logout),
        get("/api/auth/user", "Who the token belongs to.", me),
        post(
            "/api/auth/changePassword",
            "Changes the caller's password; all older tokens end.",
            change_password,
        )
        .body(r#"{"currentPassword":"old","newPassword":"new one"}"#),
        post("/api/noauth/activate", "Chooses a first password.", activate)
            .open()
            .body(r#"{"activateToken":"ey..","password":"new one"}"#),
        get("/api/noauth/activate", "A page on which a browser chooses a first password.", activation_page)
            .open()
            .query(&["activateToken"]),
    ]
}

async fn login(State(api): State<Api>, Peer(peer): Peer, body: Object) -> Answer {
    let wrong = || Refusal::stranger("Invalid username or password");
    let (name, password) = match (body.text("username")?, body.text("password")?) {
        (Some(name), Some(password)) => (name.to_owned(), password.to_owned()),
        (None, _) | (_, None) => return Err(Refusal::stranger("Username or Password not provided")),
    };
    if !api.attempts().may_try(peer, &name, api.now_ms()) {
        return Err(Refusal::too_many("Too many failed logins from this address"));
    }
    let user = api.read(|registry| registry.user_named(&name).cloned());
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let is_right = api.away(|limits| &limits.passwords, move |_| verify(hash.as_deref(), &password)).await?;
    let Some(user) = user.filter(|_| is_right) else {
        let now_ms = api.now_ms();
        api.attempts().note_failure(peer, &name, now_ms);
        return Err(wrong());
    };
    api.attempts().note_success(peer, &name);
    tokens(&api, &user, &random_word(SESSION_LETTERS, &mut chance))
}

async fn refresh(State(api): State<Api>, body: Object) -> Answer {
    let claims = api.tokens().read(body.needed("refreshToken")?, Use::Refresh, api.now_ms())?;
    let user = api.user_of(&claims)?;
    tokens(&api, &user, &claims.session_id)
}

async fn logout(State(api): State<Api>, caller: Caller) -> Answer {
    api.tokens().end(&caller.claims, api.now_ms());
    empty_answer()
}

async fn me(caller: Caller) -> Answer {
    json_answer(user_json(&caller.user))
}

async fn change_password(State(api): State<Api>, caller: Caller, body: Object) -> Answer {
    let (old, new) = (body.needed("currentPassword")?.to_owned(), body.needed("newPassword")?.to_owned());
    let hash = caller.user.password_hash.clone();
    let is_right = api.away(|limits| &limits.passwords, move |_| verify(Some(&hash), &old)).await?;
    if !is_right {
        return Err(Refusal::bad("Current password doesn't match!"));
    }
    let user = set_password(&api, caller.user.id, new, None).await?;
    tokens(&api, &user, &random_word(SESSION_LETTERS, &mut chance))
}

async fn activate(State(api): State<Api>, body: Object) -> Answer {
    let claims = api.tokens().read(body.needed("activateToken")?, Use::Activate, api.now_ms())?;
    let user = api.user_of(&claims)?;
    let seal = user.password_hash.clone();
    let user = set_password(&api, user.id, body.needed("password")?.to_owned(), Some(seal)).await?;
    tokens(&api, &user, &random_word(SESSION_LETTERS, &mut chance))
}

async fn activation_page() -> Html<&'static str> {
    Html(ACTIVATION_PAGE)
}

/// The link with which somebody chooses a first password.
pub(super) async fn activation_link(
    State(api): State<Api>,
    caller: Caller,
    axum::extract::Path(text): axum::extract::Path<String>,
) -> Answer {
    let user = super::users::user_of(&api, &caller, &text)?;
    if !user.password_hash.is_empty() {
        return Err(Refusal::bad("User is already activated!"));
    }
    let token = api.tokens().make(&user, Use::Activate, "activation", api.now_ms())?;
    Ok(format!("/api/noauth/activate?activateToken={token}").into_response())
}

/// Gives a user a password, if the one they have is still `known`.
pub(super) async fn set_password(
    api: &Api,
    user: UserId,
    password: String,
    known: Option<Box<str>>,
) -> Result<User, Refusal> {
    if !PASSWORD_BYTES.contains(&password.len()) {
        return Err(Refusal::bad("Password must be between 6 and 1024 bytes long"));
    }
    let salt = || [chance().to_be_bytes(), chance().to_be_bytes()].concat().try_into().unwrap_or([0; 16]);
    let make = move |_: &Api| access::hash(password.as_bytes(), salt());
    let hash = api.away(|limits| &limits.passwords, make).await?;
    api.change(|registry, changes: &mut Vec<Change>| {
        let user = registry
            .user(user)
            .filter(|user| known.as_ref().is_none_or(|known| *known == user.password_hash));
        let user = User { password_hash: hash.into(), ..user.ok_or_else(Refusal::expired)?.clone() };
        registry.put_user(user.clone(), changes)?;
        Ok(user)
    })
    .await
}

fn tokens(api: &Api, user: &User, session: &str) -> Answer {
    let make = |purpose| api.tokens().make(user, purpose, session, api.now_ms());
    // Tokens are letters that JSON takes as they are, and the token comes first, as it always has.
    text_answer(format!(
        "{{\"token\":\"{}\",\"refreshToken\":\"{}\"}}",
        make(Use::Access)?,
        make(Use::Refresh)?
    ))
}

/// Whether it is the password of a hash; without a hash it never is, and takes as long.
fn verify(hash: Option<&str>, password: &str) -> bool {
    static DECOY: OnceLock<String> = OnceLock::new();
    let known = hash.filter(|hash| !hash.is_empty());
    let hash = known.unwrap_or_else(|| DECOY.get_or_init(|| access::hash(b"nobody's", [0; 16])));
    let passwords = access::Passwords::parse(&format!("user:{hash}\n"));
    passwords.is_ok_and(|passwords| passwords.verify("user", password.as_bytes())) && known.is_some()
}

/// A user's id as it is written.
pub(super) fn user_id(text: &str) -> Result<UserId, Refusal> {
    id(text, UserId::parse)
}
