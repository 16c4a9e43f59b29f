//! Reading a configuration file.
//!
//! Invariants:
//! - Everything in the file is either set or complained about; all complaints are found in one pass.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::authentication::Authenticator;
use super::complaint::{Complaint, Place, guess};
use super::keys::{AUTHENTICATOR, KEYS, Key, LIMITS, LISTENER, SECTIONS, keys_of};
use super::sections::{Config, Listener};
use super::setting::Raw;

/// Reads `text`, the contents of the file at `path`, into `config`.
pub(super) fn read_text(path: &Path, text: &str, config: &mut Config, complaints: &mut Vec<Complaint>) {
    let mut reader = Reader { path, text, complaints };
    match DeTable::parse(text) {
        Ok(document) => reader.read_document(document.get_ref(), config),
        Err(refused) => {
            let span = refused.span().unwrap_or(0..0);
            reader.complaints.push(Place::in_text(path, text, &span).complain(refused.message().trim()));
        }
    }
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    complaints: &'a mut Vec<Complaint>,
}

type Entry<'e, 'i> = (&'e Spanned<DeString<'i>>, &'e Spanned<DeValue<'i>>);

impl Reader<'_> {
    fn read_document(&mut self, document: &DeTable<'_>, config: &mut Config) {
        for (name, value) in document {
            match (name.get_ref().as_ref(), value.get_ref()) {
                ("listener", DeValue::Array(tables)) => {
                    config.listener = tables.iter().map(|table| self.read_listener(table)).collect();
                }
                ("listener", _) => {
                    self.complain(name, "a listener begins with [[listener]], in double brackets")
                }
                ("authenticator", DeValue::Array(tables)) => {
                    config.authenticator =
                        tables.iter().map(|table| self.read_authenticator(table)).collect();
                }
                ("authenticator", _) => {
                    self.complain(name, "an authenticator begins with [[authenticator]], in double brackets")
                }
                (section, DeValue::Table(table)) if SECTIONS.contains(&section) => {
                    self.read_section(section, table, config);
                }
                (section, _) if SECTIONS.contains(&section) => {
                    self.complain(name, format!("`{section}` is a section: write [{section}]"));
                }
                (unknown, DeValue::Table(_) | DeValue::Array(_)) => {
                    let hint = guess(unknown, SECTIONS.into_iter());
                    self.complain(name, format!("unknown section [{unknown}]{hint}"));
                }
                (unknown, _) => self.complain(name, self.stray(unknown)),
            }
        }
    }

    fn read_section(&mut self, section: &str, table: &DeTable<'_>, config: &mut Config) {
        for entry in table {
            let name = entry.0.get_ref().as_ref();
            match keys_of(section).find(|key| key.name == name) {
                Some(key) => self.set(key, config, entry),
                None => {
                    let known = keys_of(section).map(|key| key.name);
                    self.complain(entry.0, unknown_key(section, name, known));
                }
            }
        }
    }

    fn read_listener(&mut self, value: &Spanned<DeValue<'_>>) -> Listener {
        let place = Place::in_text(self.path, self.text, &value.span());
        let mut listener = Listener { place, ..Listener::default() };
        let DeValue::Table(table) = value.get_ref() else {
            self.complain(value, "a listener is a table: write [[listener]]");
            return listener;
        };
        for entry in table {
            let name = entry.0.get_ref().as_ref();
            match LISTENER.iter().find(|key| key.name == name) {
                Some(key) => {
                    self.set(key, &mut listener, entry);
                    let place = Place::in_text(self.path, self.text, &entry.1.span());
                    listener.key_places.push((key.name, place));
                }
                None => self
                    .complain(entry.0, unknown_key("[listener]", name, LISTENER.iter().map(|key| key.name))),
            }
            if name == "bind" {
                listener.place = Place::in_text(self.path, self.text, &entry.1.span());
            }
        }
        listener
    }

    fn read_authenticator(&mut self, value: &Spanned<DeValue<'_>>) -> Authenticator {
        let place = Place::in_text(self.path, self.text, &value.span());
        let mut authenticator = Authenticator { place, ..Authenticator::default() };
        let DeValue::Table(table) = value.get_ref() else {
            self.complain(value, "an authenticator is a table: write [[authenticator]]");
            return authenticator;
        };
        for entry in table {
            let name = entry.0.get_ref().as_ref();
            match AUTHENTICATOR.iter().find(|key| key.name == name) {
                Some(key) => self.set(key, &mut authenticator, entry),
                None => {
                    let known = AUTHENTICATOR.iter().map(|key| key.name);
                    self.complain(entry.0, unknown_key("[authenticator]", name, known));
                }
            }
        }
        authenticator
    }

    fn set<T>(&mut self, key: &Key<T>, target: &mut T, (_, value): Entry<'_, '_>) {
        if let Err(refused) = (key.set)(target, &Raw::toml(value.get_ref())) {
            self.complain(value, format!("`{}` {refused}", key.name));
        }
    }

    fn stray(&self, name: &str) -> String {
        let rows = KEYS.iter().chain(LIMITS).map(|key| (key.section, key.name));
        let rows = rows.chain(LISTENER.iter().map(|key| ("[listener]", key.name)));
        match rows.into_iter().find(|(_, known)| *known == name) {
            Some((section, _)) => format!("`{name}` belongs into section [{section}]"),
            None => format!("unknown key `{name}` outside of all sections"),
        }
    }

    fn complain<T>(&mut self, at: &Spanned<T>, text: impl Into<String>) {
        self.complaints.push(Place::in_text(self.path, self.text, &at.span()).complain(text));
    }
}

/// A complaint about a key that does not exist.
pub(super) fn unknown_key(section: &str, name: &str, known: impl Iterator<Item = &'static str>) -> String {
    let elsewhere = KEYS.iter().chain(LIMITS).find(|key| key.name == name && key.section != section);
    match elsewhere {
        Some(key) => format!("unknown key `{name}` in [{section}]; it belongs into [{}]", key.section),
        None => format!("unknown key `{name}` in [{section}]{}", guess(name, known)),
    }
}
