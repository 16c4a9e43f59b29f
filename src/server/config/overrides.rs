//! Bringing all sources together: defaults, file, environment, command line.
//!
//! Why variables outside our sections are let be: container platforms set variables such as `RINGMQ_PORT` for a service
//! of that name, and they are not meant for us.
//!
//! Invariants:
//! - A later source wins over an earlier one.

use std::path::PathBuf;

use super::complaint::{Complaint, Place, guess};
use super::file::read_text;
use super::keys::{KEYS, LIMITS, LISTENER, SECTIONS};
use super::rules::check;
use super::sections::{Config, Listener};
use super::setting::{Raw, read};
use super::transport::Bind;
use crate::cores::Cores;

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file; without one, the defaults.
    pub file: Option<PathBuf>,
    /// Environment variables.
    pub variables: Vec<(String, String)>,
    /// `--listen`: replaces all listeners of the file.
    pub listen: Vec<Bind>,
    /// `--cores`.
    pub cores: Option<Cores>,
    /// `--data`.
    pub data: Option<PathBuf>,
    /// `--durability`: replaces what the listeners of the file say.
    pub durability: Option<String>,
    /// `--quarantine`.
    pub quarantine: bool,
    /// The names of the dialects that this program speaks.
    pub dialects: Vec<&'static str>,
    /// Those of them whose clients are devices of the registry.
    pub device_dialects: Vec<&'static str>,
}

/// Reads everything; returns all that is wrong, not only the first.
pub fn load(sources: &Sources) -> Result<Config, Vec<Complaint>> {
    let mut config = Config::default();
    let mut complaints = Vec::new();
    if let Some(path) = &sources.file {
        match std::fs::read_to_string(path) {
            Ok(text) => read_text(path, &text, &mut config, &mut complaints),
            Err(failure) => {
                complaints.push(Place::File(path.clone()).complain(format!("cannot be read: {failure}")))
            }
        }
    }
    // Complaints about variables come in the order of their names, whatever order the environment has.
    let mut variables: Vec<_> = sources.variables.iter().collect();
    variables.sort();
    for (name, value) in variables {
        if let Err(text) = set_variable(&mut config, name, value) {
            complaints.push(Place::Variable(name.clone()).complain(text));
        }
    }
    if let Err(complaint) = set_flags(&mut config, sources) {
        complaints.push(complaint);
    }
    config.note_dialects(&sources.device_dialects);
    if complaints.is_empty() {
        check(&config, &sources.dialects, &mut complaints);
    }
    if complaints.is_empty() { Ok(config) } else { Err(complaints) }
}

fn set_flags(config: &mut Config, sources: &Sources) -> Result<(), Complaint> {
    if let Some(cores) = &sources.cores {
        config.server.cores = cores.clone();
    }
    if let Some(dir) = &sources.data {
        config.store.dir.clone_from(dir);
    }
    config.store.quarantine = sources.quarantine;
    if let Some(mode) = &sources.durability {
        let refused = |text: String| Place::Flag("--durability").complain(text);
        config.store.durability = read(&Raw::variable(mode)).map_err(refused)?;
        config.listener.iter_mut().for_each(|listener| listener.durability = None);
    }
    if sources.listen.is_empty() {
        return Ok(());
    }
    // What the first listener says otherwise (its dialect, whether anonymous clients may come) still holds.
    let pattern = config.listener.first().cloned().unwrap_or_default();
    let listener =
        |bind: &Bind| Listener { bind: bind.clone(), place: Place::Flag("--listen"), ..pattern.clone() };
    config.listener = sources.listen.iter().map(listener).collect();
    Ok(())
}

const PREFIX: &str = "RINGMQ_";

fn set_variable(config: &mut Config, variable: &str, value: &str) -> Result<(), String> {
    let Some(rest) = variable.strip_prefix(PREFIX) else { return Ok(()) };
    let Some((section, name)) = rest.split_once('_').map(|(s, n)| (s.to_lowercase(), n.to_lowercase()))
    else {
        return Ok(());
    };
    if !SECTIONS.contains(&section.as_str()) {
        return Ok(());
    }
    if section == "listener" {
        return set_listener(config, variable, &name, value);
    }
    match KEYS.iter().chain(LIMITS).find(|key| key.section == section && key.name == name) {
        Some(key) => (key.set)(config, &Raw::variable(value)),
        None => {
            let known = KEYS.iter().chain(LIMITS).map(|key| variable_of(key.section, key.name));
            Err(unknown_variable(variable, known.collect()))
        }
    }
}

fn set_listener(config: &mut Config, variable: &str, name: &str, value: &str) -> Result<(), String> {
    let Some(key) = LISTENER.iter().find(|key| key.name == name) else {
        return Err(unknown_variable(
            variable,
            LISTENER.iter().map(|key| variable_of("listener", key.name)).collect(),
        ));
    };
    let [listener] = config.listener.as_mut_slice() else {
        return Err(format!("can change only a single listener, and there are {}", config.listener.len()));
    };
    (key.set)(listener, &Raw::variable(value))?;
    let place = Place::Variable(variable.to_owned());
    if name == "bind" {
        listener.place = place.clone();
    }
    listener.key_places.push((key.name, place));
    Ok(())
}

/// The variable that overrides a key.
fn variable_of(section: &str, name: &str) -> String {
    format!("{PREFIX}{section}_{name}").to_uppercase()
}

fn unknown_variable(variable: &str, known: Vec<String>) -> String {
    format!("there is no such key{}", guess(variable, known.iter().map(String::as_str)))
}
