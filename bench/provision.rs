//! Making devices for a load over the HTTP API of the broker under test.
//!
//! Why one after the other per thread and not in bulk: the plain call is the one that every server of this API has.
//!
//! Invariants:
//! - A device that is there already stays as it is, so that a load can be repeated.
//! - Nothing is dialled over MQTT before all devices are there.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::{Agent, Error};

use crate::engine::Plan;
use crate::failure::Failure;
use crate::options::{KeepingOption, TelemetryOptions};

/// Requests under way at the same time: the broker's disk makes many of them durable at once.
const HANDS: usize = 8;
const ANSWER_S: u64 = 30;
const BAD_REQUEST: u16 = 400;

/// Makes the devices of `plan` in a profile that keeps what `options` say.
pub(crate) fn provision(url: &str, options: &TelemetryOptions, plan: &Plan) -> Result<(), Failure> {
    let Some(path) = &options.admin_password_file else {
        return Err(Failure::Usage("--provision needs --admin-password-file".into()));
    };
    let password = std::fs::read_to_string(path)
        .map_err(|source| Failure::os(format!("reading {}", path.display()), source))?;
    let api = Api::login(url, &options.admin, password.trim())?;
    let profile = api.profile(options.keep_telemetry)?;
    let next = AtomicU32::new(0);
    let made = thread::scope(|scope| {
        let hands: Vec<_> = (0..HANDS).map(|_| scope.spawn(|| api.make(plan, &profile, &next))).collect();
        hands.into_iter().map(|hand| hand.join()).collect::<Vec<_>>()
    });
    for hand in made {
        hand.map_err(|_| api.failure("a thread that made devices has ended"))??;
    }
    Ok(())
}

/// A client of the API that has logged in.
struct Api {
    agent: Agent,
    url: String,
    token: String,
}

impl Api {
    fn login(url: &str, user: &str, password: &str) -> Result<Self, Failure> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(ANSWER_S)))
            .max_idle_connections_per_host(HANDS)
            .build();
        let mut api =
            Self { agent: config.into(), url: url.trim_end_matches('/').to_owned(), token: String::new() };
        let answer = api.post("/api/auth/login", &json!({"username": user, "password": password}))?;
        let token = answer.accepted(&api)?["token"].as_str().unwrap_or_default().to_owned();
        api.token = format!("Bearer {token}");
        Ok(api)
    }

    /// The id of the profile that keeps this, which is made if it is missing.
    fn profile(&self, keeping: KeepingOption) -> Result<Value, Failure> {
        let word = match keeping {
            KeepingOption::History => "HISTORY",
            KeepingOption::Latest => "LATEST",
            KeepingOption::Forward => "FORWARD",
        };
        let name = format!("bench-{}", word.to_lowercase());
        let body = json!({
            "name": name,
            "type": "DEFAULT",
            "transportType": "DEFAULT",
            "provisionType": "DISABLED",
            "telemetryKeeping": word,
            "profileData": {
                "configuration": {"type": "DEFAULT"},
                "transportConfiguration": {"type": "DEFAULT"},
                "provisionConfiguration": {"type": "DISABLED"},
            },
        });
        let made = self.post("/api/deviceProfile", &body)?;
        if made.status != BAD_REQUEST {
            return Ok(made.accepted(self)?["id"].take());
        }
        // It is there from an earlier load.
        let found = self.get(&format!("/api/deviceProfiles?pageSize=100&page=0&textSearch={name}"))?;
        let mut page = found.accepted(self)?;
        let profiles = page["data"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let profile = profiles.into_iter().find(|profile| profile["name"] == name.as_str());
        profile.map(|mut profile| profile["id"].take()).ok_or_else(|| self.failure("no profile for the load"))
    }

    /// Makes devices until none is left.
    fn make(&self, plan: &Plan, profile: &Value, next: &AtomicU32) -> Result<(), Failure> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= plan.topology.publishers {
                return Ok(());
            }
            let token = plan.ends.publisher_credentials(number).user.unwrap_or_default();
            let body = json!({"name": format!("device of {token}"), "deviceProfileId": profile});
            let path = format!("/api/device?accessToken={token}");
            let answer = self.post(&path, &body)?;
            let is_there = answer.status == BAD_REQUEST && answer.text.contains("already exists");
            if !is_there {
                answer.accepted(self)?;
            }
        }
    }

    fn post(&self, path: &str, body: &Value) -> Result<Answered, Failure> {
        let request = self.agent.post(format!("{}{path}", self.url));
        let sent = request
            .header("content-type", "application/json")
            .header("x-authorization", &self.token)
            .send(body.to_string());
        self.answered(sent)
    }

    fn get(&self, path: &str) -> Result<Answered, Failure> {
        let request = self.agent.get(format!("{}{path}", self.url));
        self.answered(request.header("x-authorization", &self.token).call())
    }

    fn answered(&self, sent: Result<ureq::http::Response<ureq::Body>, Error>) -> Result<Answered, Failure> {
        let mut response = sent.map_err(|error| self.failure(&error.to_string()))?;
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().map_err(|error| self.failure(&error.to_string()))?;
        Ok(Answered { status, text })
    }

    fn failure(&self, cause: &str) -> Failure {
        Failure::Target { target: self.url.clone(), cause: cause.to_owned() }
    }
}

/// What the API has answered.
struct Answered {
    status: u16,
    text: String,
}

impl Answered {
    /// The JSON of an answer that is no refusal.
    fn accepted(self, api: &Api) -> Result<Value, Failure> {
        if self.status != 200 {
            return Err(api.failure(&format!("{} {}", self.status, self.text)));
        }
        serde_json::from_str(&self.text).map_err(|error| api.failure(&error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use clap::Parser;

    use super::*;
    use crate::options::{Command, Options};
    use crate::planning;

    /// An API that gives a token, knows the profile already, and refuses one device as known.
    fn serve(listener: TcpListener, asked: Arc<Mutex<Vec<String>>>) {
        for stream in listener.incoming().map_while(Result::ok) {
            let asked = Arc::clone(&asked);
            thread::spawn(move || answer_all(&stream, &asked));
        }
    }

    fn answer_all(stream: &TcpStream, asked: &Mutex<Vec<String>>) {
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let mut body_bytes = 0;
            loop {
                let mut header = String::new();
                reader.read_line(&mut header).unwrap();
                if let Some(length) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                    body_bytes = length.trim().parse().unwrap();
                }
                if header == "\r\n" {
                    break;
                }
            }
            let mut body = vec![0; body_bytes];
            reader.read_exact(&mut body).unwrap();
            let path = line.split(' ').nth(1).unwrap().to_owned();
            let (status, answer) = match path.as_str() {
                "/api/auth/login" => ("200 OK", r#"{"token":"t"}"#),
                "/api/deviceProfile" => ("400 Bad Request", r#"{"message":"Device profile exists"}"#),
                "/api/device?accessToken=bench-token-1" => {
                    ("400 Bad Request", r#"{"message":"Device with such name already exists!"}"#)
                }
                path if path.starts_with("/api/deviceProfiles") => {
                    ("200 OK", r#"{"data":[{"name":"bench-latest","id":{"id":"7"}}]}"#)
                }
                _ => ("200 OK", "{}"),
            };
            asked.lock().unwrap().push(format!("{path} {}", String::from_utf8(body).unwrap()));
            let length = answer.len();
            write!(&*stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{answer}").unwrap();
        }
    }

    #[test]
    fn devices_are_made_once_with_the_tokens_that_they_will_show() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&asked);
        thread::spawn(move || serve(listener, book));
        let password = std::env::temp_dir().join(format!("bench-password-{}", std::process::id()));
        std::fs::write(&password, "secret\n").unwrap();
        let line = format!(
            "ringmq-bench telemetry -c 3 --dialect thingsboard --provision {url} --keep-telemetry latest \
             --admin-password-file {}",
            password.display()
        );
        let parsed = Options::try_parse_from(line.split_whitespace()).expect("the options are understood");
        let Command::Telemetry(options) = parsed.command else { panic!("another workload") };
        let plan = planning::telemetry(&options).expect("a lawful command");
        provision(&url, &options, &plan).expect("the devices are made");
        std::fs::remove_file(&password).unwrap();
        let mut asked = asked.lock().unwrap().clone();
        assert!(asked[0].contains(r#""password":"secret""#), "{asked:?}");
        assert!(asked[1].contains(r#""telemetryKeeping":"LATEST""#), "{asked:?}");
        asked.drain(..3);
        asked.sort();
        assert_eq!(asked.len(), 3);
        for (number, request) in asked.iter().enumerate() {
            assert!(
                request.starts_with(&format!("/api/device?accessToken=bench-token-{number} ")),
                "{request}"
            );
            assert!(request.contains(r#""deviceProfileId":{"id":"7"}"#), "{request}");
        }
    }

    #[test]
    fn without_a_password_nothing_is_asked() {
        let line = "ringmq-bench telemetry --provision http://127.0.0.1:1";
        let parsed = Options::try_parse_from(line.split(' ')).expect("the options are understood");
        let Command::Telemetry(options) = parsed.command else { panic!("another workload") };
        let plan = planning::telemetry(&options).expect("a lawful command");
        let refused = provision("http://127.0.0.1:1", &options, &plan).expect_err("nobody may");
        assert!(refused.to_string().contains("--admin-password-file"), "{refused}");
    }
}
