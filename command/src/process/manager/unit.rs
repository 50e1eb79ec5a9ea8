//! A service of systemd: its properties, and how it is stopped (systemctl(1)).

use super::find::Member;
use crate::process::holders::Holder;
use crate::process::names::SHELLS;
use crate::process::run::output_of;
use crate::process::users;
use log::debug;
use rustix::process::geteuid;

/// A service that runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Unit {
    pub(crate) name: String,
    /// The user whose own manager it is, if it is one.
    user: Option<u32>,
    /// Its main process, if it has one (`MainPID`).
    main: Option<i32>,
    restart: Option<String>,
}

/// Programs, beside shells, that only start another one and wait for it: when that exits, so does
/// their unit.
const STARTERS: [&str; 18] = [
    "busybox",
    "npm",
    "npx",
    "yarn",
    "pnpm",
    "env",
    "sudo",
    "su",
    "runuser",
    "setpriv",
    "tini",
    "docker-init",
    "dumb-init",
    "timeout",
    "flock",
    "script",
    "uv",
    "poetry",
];

impl Unit {
    /// Asks the manager of a unit about it: the system's, or that of a user.
    pub(super) fn find(name: String, user: Option<u32>) -> Self {
        let mut unit = Self {
            name,
            user,
            main: None,
            restart: None,
        };
        unit.main = unit
            .property("MainPID")
            .and_then(|pid| pid.parse().ok())
            .filter(|&pid| pid != 0);
        unit.restart = unit
            .property("Restart")
            .filter(|policy| policy.starts_with("on-") || policy == "always");
        debug!("{unit:?}");
        unit
    }

    fn property(&self, name: &str) -> Option<String> {
        let mut words = self.options();
        words.extend(
            ["show", "--property", name, "--value", "--", &self.name].map(ToOwned::to_owned),
        );
        output_of("systemctl", &words)
    }

    /// When its manager starts it again: `always`, `on-failure` and the like.
    pub(crate) fn restart(&self) -> Option<&str> {
        self.restart.as_deref()
    }

    pub(super) fn is_of_user(&self) -> bool {
        self.user.is_some()
    }

    /// Whether the first process of a chain is the unit's own program, and not one of many that it
    /// has started: cron, a CI agent and every supervisor have their jobs in their own unit.
    pub(super) fn runs(&self, chain: &[Member], others: &[Holder]) -> bool {
        let (Some(main), Some(holder)) = (self.main, chain.first()) else {
            return true;
        };
        if holder.pid == main || others.iter().any(|other| other.pid == main) {
            return true;
        }
        match chain.iter().position(|parent| parent.pid == main) {
            Some(position) => chain
                .get(1..=position)
                .unwrap_or_default()
                .iter()
                .all(|parent| {
                    let mut starters = SHELLS.iter().chain(&STARTERS);
                    starters.any(|name| parent.is(name))
                }),
            // The main process has not started it: a daemon, of which the manager knows another
            // process.
            None => Member::new(main).is_none_or(|main| main.session == holder.session),
        }
    }

    /// The command that stops it, as words.
    pub(super) fn stop_words(&self) -> Vec<String> {
        let mut words = vec!["systemctl".to_owned()];
        words.extend(self.options());
        words.extend(["stop".to_owned(), self.name.clone()]);
        words
    }

    fn options(&self) -> Vec<String> {
        match self.user {
            None => Vec::new(),
            Some(user) if user == geteuid().as_raw() => vec!["--user".into()],
            Some(user) => {
                let name = users::name(user).map_or_else(|| user.to_string(), ToOwned::to_owned);
                vec!["--user".into(), format!("--machine={name}@.host")]
            }
        }
    }
}
