//! The keys that are pressed while a screen is shown: each as it comes, and without an echo
//! (termios(3)).

use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};
use std::io::{Read, stdin};

/// The terminal that stdin is, while its keys are read.
#[derive(Default)]
pub(crate) struct Keys {
    /// Its modes before that; none while it is not read.
    before: Option<Termios>,
    /// Whether there is nothing to be read any more.
    is_over: bool,
}

impl Keys {
    /// Begins to read the keys, where stdin is a terminal and this process in its foreground. The
    /// kernel would stop one in the background (SIGTTOU).
    pub(crate) fn take(&mut self) {
        if self.before.is_some() || self.is_over || !is_in_foreground() {
            return;
        }
        let Ok(before) = tcgetattr(stdin()) else {
            return;
        };
        let mut modes = before.clone();
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        if tcsetattr(stdin(), OptionalActions::Now, &modes).is_ok() {
            self.before = Some(before);
        }
    }

    /// Puts the terminal's modes back.
    pub(crate) fn give_back(&mut self) {
        if let Some(before) = self.before.take().filter(|_| is_in_foreground()) {
            // Nothing depends on it: a terminal that is gone has no modes.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
        }
    }

    /// Whether they may be waited for now.
    pub(crate) fn are_read(&self) -> bool {
        self.before.is_some() && is_in_foreground()
    }

    /// Reads what was pressed; whether `q` was.
    pub(crate) fn quit(&mut self) -> bool {
        let mut keys = [0; 64];
        match stdin().read(&mut keys) {
            Ok(0) | Err(_) => {
                self.give_back();
                self.is_over = true;
                false
            }
            Ok(number) => keys[..number].iter().any(|key| b"qQ".contains(key)),
        }
    }
}

fn is_in_foreground() -> bool {
    tcgetpgrp(stdin()) == Ok(getpgrp())
}
