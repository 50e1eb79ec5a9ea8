//! Asks SELinux's policy, by selinuxfs, in which domain a program starts and what is forbidden
//! there (`selinux_bprm_creds_for_exec` in security/selinux/hooks.c). In another domain than its
//! starter's a program has AT_SECURE, unless the policy allows `noatsecure`; Fedora's allows it
//! case by case (fedora-selinux/selinux-policy#3026).
//!
//! One thing can't be asked: with `no_new_privs`, or on a file system mounted nosuid, a program may
//! also enter a domain that is bounded by its starter's (`typebounds`).

use crate::process::mount::is_on_nosuid_mount;
use rustix::fs::getxattr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

const POLICY: &str = "/sys/fs/selinux";

/// The domain that a program is started from.
#[derive(Clone, Debug)]
pub(crate) struct Domain {
    root: Root,
    /// The context of a starter such as `nice` between the two, if it differs from the root's.
    between: Option<String>,
    /// The context that the starter asks for, if it does (setexeccon(3)).
    asked_for: Option<String>,
}

/// The process that a start begins with.
#[derive(Clone, Copy, Debug)]
enum Root {
    Ourselves,
    Process(i32),
    /// systemd, for the services of the system.
    Init,
}

/// The domain that a program is started in.
#[derive(Debug)]
pub(crate) enum StartDomain {
    /// It stays in its starter's domain, or SELinux forbids nothing.
    SameDomain,
    OtherDomain(Transition),
    /// The policy, or the starter, can't be read.
    Unknown,
}

/// A domain transition at exec.
#[derive(Debug)]
pub(crate) struct Transition {
    /// A whole context, `system_u:system_r:init_t:s0`.
    from: String,
    pub(crate) to: String,
    /// Whether it begins with systemd, and not with a process that is there.
    pub(crate) is_by_init: bool,
}

/// Asks the policy in which domain a program is started.
pub(crate) fn start(path: &Path, domain: &Domain, no_new_privileges: bool) -> StartDomain {
    if is_enforcing() {
        StartDomain::of(path, domain, no_new_privileges).unwrap_or(StartDomain::Unknown)
    } else {
        StartDomain::SameDomain
    }
}

/// Whether SELinux is enforcing.
fn is_enforcing() -> bool {
    fs::read(format!("{POLICY}/enforce")).is_ok_and(|value| value.starts_with(b"1"))
}

impl Domain {
    const fn of(root: Root) -> Self {
        Self {
            root,
            between: None,
            asked_for: None,
        }
    }

    /// The domain of this process.
    pub(crate) const fn own() -> Self {
        Self::of(Root::Ourselves)
    }

    pub(crate) const fn of_process(pid: i32) -> Self {
        Self::of(Root::Process(pid))
    }

    /// The domain of systemd, which may ask for a context (`SELinuxContext=`).
    pub(crate) fn of_init(asked_for: Option<String>) -> Self {
        Self {
            asked_for,
            ..Self::of(Root::Init)
        }
    }

    /// The domain of a program such as `nice` that is started from this one, and may ask for a
    /// context itself.
    pub(crate) fn behind(&self, start: StartDomain, asked_for: Option<String>) -> Self {
        Self {
            root: self.root,
            between: match start {
                StartDomain::OtherDomain(transition) => Some(transition.to),
                StartDomain::SameDomain | StartDomain::Unknown => self.between.clone(),
            },
            asked_for,
        }
    }

    fn context(&self) -> Option<String> {
        self.between
            .clone()
            .or_else(|| self.root.attribute("current"))
    }

    /// The context that is asked for. A process that has asked has executed nothing since.
    fn asked_for(&self) -> Option<String> {
        let of_root = || match (self.root, &self.between) {
            (Root::Init, _) | (_, Some(_)) => None,
            (root, None) => root.attribute("exec"),
        };
        let asked_for = self.asked_for.clone().or_else(of_root);
        asked_for.filter(|context| !context.is_empty())
    }
}

impl Root {
    fn attribute(self, name: &str) -> Option<String> {
        let process = match self {
            Self::Ourselves => "self".into(),
            Self::Process(pid) => pid.to_string(),
            Self::Init => "1".into(),
        };
        text(&fs::read(format!("/proc/{process}/attr/{name}")).ok()?)
    }
}

impl StartDomain {
    fn of(path: &Path, domain: &Domain, no_new_privileges: bool) -> Option<Self> {
        let from = domain.context()?;
        let asked_for = domain.asked_for();
        let to = if let Some(context) = &asked_for {
            context.clone()
        } else {
            let mut label = [0; 4096];
            let length = getxattr(path, c"security.selinux", &mut label[..]).ok()?;
            let label = text(label.get(..length)?)?;
            let class = number(&format!("{POLICY}/class/process/index"))?;
            ask("create", &format!("{from} {label} {class}"))?
        };
        let may_all_the_same = |permission| {
            let capability = format!("{POLICY}/policy_capabilities/nnp_nosuid_transition");
            fs::read(capability).is_ok_and(|value| value.starts_with(b"1"))
                && may(&from, &to, "process2", permission)
        };
        // A context that was asked for and is refused fails the exec.
        let is_kept_back = asked_for.is_none()
            && ((no_new_privileges && !may_all_the_same("nnp_transition"))
                || (is_on_nosuid_mount(path) && !may_all_the_same("nosuid_transition")));
        Some(if from == to || is_kept_back {
            Self::SameDomain
        } else {
            Self::OtherDomain(Transition {
                from,
                to,
                is_by_init: matches!(domain.root, Root::Init),
            })
        })
    }
}

impl Transition {
    /// Whether the program is started without AT_SECURE.
    pub(crate) fn keeps_environment(&self) -> bool {
        may(&self.from, &self.to, "process", "noatsecure")
    }

    /// Whether this process may trace the program then. Its exec fails otherwise.
    pub(crate) fn is_traceable(&self) -> bool {
        let ours = Root::Ourselves.attribute("current");
        ours.is_none_or(|ours| may(&ours, &self.to, "process", "ptrace"))
    }

    /// The policy module's rule with which the program starts without AT_SECURE.
    pub(crate) fn rule(&self) -> String {
        format!(
            "allow {} {}:process noatsecure;",
            type_of(&self.from),
            type_of(&self.to)
        )
    }
}

/// Whether the policy allows a permission between two domains; false if it can't be asked.
fn may(from: &str, to: &str, class: &str, permission: &str) -> bool {
    let folder = format!("{POLICY}/class/{class}");
    let (Some(class), Some(bit)) = (
        number(&format!("{folder}/index")),
        number(&format!("{folder}/perms/{permission}")),
    ) else {
        // The policy is older than the permission; `deny_unknown` decides.
        return number(&format!("{POLICY}/deny_unknown")) != Some(1);
    };
    let answer = ask("access", &format!("{from} {to} {class}")).unwrap_or_default();
    // Allowed, decided, auditallow, auditdeny, sequence number, flags.
    let words: Vec<&str> = answer.split(' ').collect();
    let hexadecimal = |index: usize| {
        let word = words.get(index)?;
        u32::from_str_radix(word, 16).ok()
    };
    let is_permissive = hexadecimal(5).is_some_and(|flags| flags & 1 != 0);
    is_permissive || hexadecimal(0).is_some_and(|allowed| allowed & (1 << (bit - 1)) != 0)
}

/// A context's type, which is what rules are about.
fn type_of(context: &str) -> &str {
    context.split(':').nth(2).unwrap_or(context)
}

/// Decodes a context, which ends with a NUL or a newline.
fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.trim_end_matches(['\0', '\n']).to_owned())
}

fn number(file: &str) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Asks a file of selinuxfs: the answer is read after the question is written. The policy may
/// forbid that too.
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
