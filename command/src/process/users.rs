//! Reads users from /etc/passwd (passwd(5)). Not by getpwuid(3): the name service can't be
//! asked by a program that is linked statically.

use crate::output::readable;
use crate::sys::proc;
use rustix::process::geteuid;
use std::collections::HashMap;
use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

struct User {
    name: String,
    home: PathBuf,
}

/// The name of a user.
pub(crate) fn name(uid: u32) -> Option<&'static str> {
    users().get(&uid).map(|user| user.name.as_str())
}

/// Our user's home directory: `$HOME`, or the one in /etc/passwd.
pub(crate) fn own_home() -> Option<PathBuf> {
    let of_passwd = || home(geteuid().as_raw()).map(Path::to_owned);
    absolute_path("HOME").or_else(of_passwd)
}

/// The home directory of a user.
pub(crate) fn home(uid: u32) -> Option<&'static Path> {
    users().get(&uid).map(|user| user.home.as_path())
}

/// The path that a variable of the environment holds, if it is absolute.
pub(crate) fn absolute_path(variable: &str) -> Option<PathBuf> {
    let path = env::var_os(variable).map(PathBuf::from);
    path.filter(|path| path.is_absolute())
}

fn users() -> &'static HashMap<u32, User> {
    static USERS: OnceLock<HashMap<u32, User>> = OnceLock::new();
    USERS.get_or_init(|| {
        let mut users = HashMap::new();
        let text = proc::bytes("/etc/passwd").unwrap_or_default();
        for line in text.split(|&byte| byte == b'\n') {
            let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
            let [name, _, uid, _, _, home, ..] = fields.as_slice() else {
                continue;
            };
            let uid = std::str::from_utf8(uid)
                .ok()
                .and_then(|uid| uid.parse().ok());
            if let Some(uid) = uid {
                // The first of two names with one number counts.
                users.entry(uid).or_insert_with(|| User {
                    name: readable(name),
                    home: OsStr::from_bytes(home).into(),
                });
            }
        }
        users
    })
}
