//! `ringmq passwd`: who is in a password file, changed by hand or by a script.
//!
//! Why passwords never stand on the command line: everybody on the machine can read it there.
//!
//! Invariants:
//! - The file is replaced whole: whoever reads it sees the old one or the new one.
//! - A new file belongs to its owner alone; an old one keeps its owner and permissions.
//! - A file that is not understood is not touched.

use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use access::{PasswordFault, Passwords, check_user, hash, with_user, without_user};

/// Bytes of a password: as many as a CONNECT can hold.
const PASSWORD_BYTES_MAX: usize = 65_535;
/// Permissions of a new file.
const MODE_NEW: u32 = 0o600;

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PasswdTask {
    /// Ask for a password, or read it as one line where standard input is no terminal, and set it.
    Set(String),
    /// Read lines of `user:password` from standard input and set them all.
    SetMany,
    /// Remove a user.
    Delete(String),
}

/// Whether the file must be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PasswdFile {
    /// It is there.
    Old,
    /// It is not, and will be made.
    New,
}

/// Changes a password file. Returns what was done, for people.
///
/// # Errors
/// One line that says why nothing was changed.
pub fn passwd(path: &Path, file: PasswdFile, task: &PasswdTask) -> Result<String, String> {
    let text = match file {
        PasswdFile::Old => read_old(path)?,
        PasswdFile::New if path.exists() => {
            return Err(format!("{}: is there already; without -c users are added to it", path.display()));
        }
        PasswdFile::New => String::new(),
    };
    let mut input = std::io::stdin().lock();
    let (text, done) = match task {
        PasswdTask::Delete(user) => {
            let text = without_user(&text, user).map_err(|fault| format!("{user}: {fault}"))?;
            (text, format!("{user} is removed"))
        }
        PasswdTask::Set(user) => {
            check_user(user).map_err(|fault| format!("{user}: {fault}"))?;
            let password = match std::io::stdin().is_terminal() {
                true => prompt(user)?,
                false => first_line(&mut input)?,
            };
            (set(&text, user, password.as_bytes())?, format!("{user} is set"))
        }
        PasswdTask::SetMany => set_many(text, &mut input)?,
    };
    replace(path, &text)?;
    Ok(format!("{}: {done}", path.display()))
}

fn read_old(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|failure| match failure.kind() {
        std::io::ErrorKind::NotFound => format!("{}: is not there; -c makes a new file", path.display()),
        _every_other_reason => format!("{}: cannot be read: {failure}", path.display()),
    })?;
    match Passwords::parse(&text) {
        // Whoever has removed the last user may add the next one.
        Ok(_) | Err(PasswordFault::Empty) => Ok(text),
        Err(PasswordFault::Line { line, what }) => Err(format!("{}:{line}: {what}", path.display())),
        Err(PasswordFault::Cut) => Err(format!("{}: {}", path.display(), PasswordFault::Cut)),
    }
}

fn set(text: &str, user: &str, password: &[u8]) -> Result<String, String> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(format!("{user}: a password has 1 to {PASSWORD_BYTES_MAX} bytes"));
    }
    let mut salt = [0; 16];
    rustix::rand::getrandom(&mut salt, rustix::rand::GetRandomFlags::empty())
        .map_err(|failure| format!("the kernel gives no random bytes: {failure}"))?;
    with_user(text, user, &hash(password, salt)).map_err(|fault| format!("{user}: {fault}"))
}

fn set_many(mut text: String, input: &mut impl BufRead) -> Result<(String, String), String> {
    let mut count = 0;
    for (number, line) in (1..).zip(input.lines()) {
        let line = line.map_err(|failure| format!("standard input, line {number}: {failure}"))?;
        if line.is_empty() {
            continue;
        }
        let parts =
            line.split_once(':').ok_or_else(|| format!("standard input, line {number}: not user:password"));
        let (user, password) = parts?;
        text = set(&text, user, password.as_bytes())
            .map_err(|what| format!("standard input, line {number}: {what}"))?;
        count += 1;
    }
    match count {
        0 => Err("standard input holds no user:password".to_owned()),
        1 => Ok((text, "1 user is set".to_owned())),
        _ => Ok((text, format!("{count} users are set"))),
    }
}

fn prompt(user: &str) -> Result<String, String> {
    let ask = |question: String| {
        rpassword::prompt_password(question)
            .map_err(|failure| format!("cannot ask for a password: {failure}"))
    };
    let password = ask(format!("Password for {user}: "))?;
    if password != ask("The same again: ".to_owned())? {
        return Err("the two are not the same; nothing was changed".to_owned());
    }
    Ok(password)
}

fn first_line(input: &mut impl BufRead) -> Result<String, String> {
    let mut line = String::new();
    input.read_line(&mut line).map_err(|failure| format!("cannot read a password: {failure}"))?;
    let end = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(end);
    Ok(line)
}

/// Puts a new file in the place of the old one.
fn replace(path: &Path, text: &str) -> Result<(), String> {
    let beside = beside(path)?;
    let outcome = write(&beside, path, text).and_then(|()| std::fs::rename(&beside, path));
    outcome.and_then(|()| sync_folder(path)).map_err(|failure| {
        // If it is not there, nothing is left to clean up.
        let _ = std::fs::remove_file(&beside);
        format!("{}: cannot be written: {failure}", path.display())
    })
}

fn beside(path: &Path) -> Result<PathBuf, String> {
    let name = path.file_name().ok_or_else(|| format!("{}: is no file name", path.display()))?;
    let own = format!(".{}.{}.new", name.to_string_lossy(), std::process::id());
    Ok(path.with_file_name(own))
}

fn write(beside: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(MODE_NEW).open(beside)?;
    file.write_all(text.as_bytes())?;
    if let Ok(old) = std::fs::metadata(path) {
        // The broker may read it through its group; a file that we could not give to it would lock it out.
        let ours = file.metadata()?;
        if (old.uid(), old.gid()) != (ours.uid(), ours.gid()) {
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(std::fs::Permissions::from_mode(old.mode() & 0o777))?;
    }
    file.sync_all()
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
