//! Which domain SELinux starts a program in, and what its policy forbids there (`selinux_bprm_creds_for_exec` in
//! security/selinux/hooks.c). In another domain than its starter's a program has AT_SECURE, unless the policy allows
//! `noatsecure`: so it is with most services that systemd starts. The policy is asked by way of selinuxfs.

use super::rights::{Credentials, gives_no_rights};
use rustix::fs::getxattr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

const POLICY: &str = "/sys/fs/selinux";

/// Who starts a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Starter {
    Ourselves,
    Process(i32),
}

/// systemd, for the services of the system.
pub(crate) const INIT: Starter = Starter::Process(1);

/// A program's way into another domain.
#[derive(Debug)]
pub(crate) struct Transition {
    /// The whole context, `system_u:system_r:init_t:s0`.
    from: String,
    pub(crate) to: String,
}

/// The transition that comes of starting a program; `None` if it stays in its starter's domain, if SELinux forbids
/// nothing, or if it does not say.
pub(crate) fn transition(path: &Path, who: Credentials) -> Option<Transition> {
    if !is_enforcing() {
        return None;
    }
    let from = who.starter.context()?;
    let mut label = [0; 4096];
    let length = getxattr(path, c"security.selinux", &mut label[..]).ok()?;
    let label = text(label.get(..length)?)?;
    let class = number(&format!("{POLICY}/class/process/index"))?;
    let to = ask("create", &format!("{from} {label} {class}"))?;
    // As a file that gives rights gives none there.
    let may_all_the_same = |permission| {
        fs::read(format!(
            "{POLICY}/policy_capabilities/nnp_nosuid_transition"
        ))
        .is_ok_and(|value| value.starts_with(b"1"))
            && may(&from, &to, "process2", permission)
    };
    let is_kept_back = (who.no_new_privileges && !may_all_the_same("nnp_transition"))
        || (gives_no_rights(path) && !may_all_the_same("nosuid_transition"));
    (from != to && !is_kept_back).then_some(Transition { from, to })
}

impl Starter {
    fn context(self) -> Option<String> {
        let process = match self {
            Self::Ourselves => "self".into(),
            Self::Process(pid) => pid.to_string(),
        };
        text(&fs::read(format!("/proc/{process}/attr/current")).ok()?)
    }
}

/// Whether SELinux is there, and forbids what its policy does not allow.
pub(crate) fn is_enforcing() -> bool {
    fs::read(format!("{POLICY}/enforce")).is_ok_and(|value| value.starts_with(b"1"))
}

impl Transition {
    /// Whether the program is started without AT_SECURE.
    pub(crate) fn keeps_environment(&self) -> bool {
        may(&self.from, &self.to, "process", "noatsecure")
    }

    /// Whether this process may trace the program then. It can't be executed otherwise.
    pub(crate) fn is_traceable(&self) -> bool {
        let ours = Starter::Ourselves.context();
        ours.is_none_or(|ours| may(&ours, &self.to, "process", "ptrace"))
    }

    /// What a policy module has to say so that the program is started without AT_SECURE.
    pub(crate) fn rule(&self) -> String {
        format!(
            "allow {} {}:process noatsecure;",
            kind(&self.from),
            kind(&self.to)
        )
    }
}

/// Whether the policy lets the one domain do so with the other. A policy that does not know a permission allows it, on every
/// distribution (`deny_unknown`).
fn may(from: &str, to: &str, class: &str, permission: &str) -> bool {
    let folder = format!("{POLICY}/class/{class}");
    let (Some(class), Some(bit)) = (
        number(&format!("{folder}/index")),
        number(&format!("{folder}/perms/{permission}")),
    ) else {
        return true;
    };
    let answer = ask("access", &format!("{from} {to} {class}"));
    // Allowed, decided, audited if allowed, if denied, the number of the policy, flags; all but the fifth are hexadecimal.
    let words: Vec<u32> = answer
        .iter()
        .flat_map(|answer| answer.split(' '))
        .filter_map(|word| u32::from_str_radix(word, 16).ok())
        .collect();
    let is_permissive = words.get(5).is_some_and(|flags| flags & 1 != 0);
    let allowed = words.first().copied().unwrap_or(0);
    is_permissive || allowed & (1 << (bit - 1)) != 0
}

/// A context's type, which is what rules are about.
fn kind(context: &str) -> &str {
    context.split(':').nth(2).unwrap_or(context)
}

/// A context as the kernel gives it, with a zero behind it or a new line.
fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.trim_end_matches(['\0', '\n']).to_owned())
}

fn number(file: &str) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Asks a file of selinuxfs, which answers who has written to it. Whether one may is the policy's affair as well.
fn ask(file: &str, question: &str) -> Option<String> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .open(format!("{POLICY}/{file}"))
        .ok()?;
    file.write_all(question.as_bytes()).ok()?;
    let mut answer = Vec::new();
    file.read_to_end(&mut answer).ok()?;
    text(&answer)
}
