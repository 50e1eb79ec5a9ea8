//! Makes the system calls of the rules' sequences, each through its module.

use crate::sink::Sink;
use crate::socket::Socket;
use crate::spare::Spare;
use crate::{clock, file, listeners, signals};
use core::ffi::c_int;
use libreuse_rules::calls::{Kernel, Sleep, SocketOption};
use libreuse_rules::diag::BindAddress;
use libreuse_rules::endpoint::Endpoint;
use log::Log;

impl Kernel for Socket {
    type File = file::Identity;
    type Mask = signals::Mask;
    type Spare = Spare;
    type Wait = signals::Wait;

    fn descriptor(&self) -> c_int {
        self.0
    }

    #[inline(always)]
    fn log(&self) -> impl Log {
        Sink
    }

    #[inline(always)]
    fn option(&self, option: SocketOption) -> Option<c_int> {
        self.get(option.level(), option.name(), 0)
    }

    #[inline(always)]
    fn set_option(&self, option: SocketOption, value: c_int) -> bool {
        self.set(option.level(), option.name(), value)
    }

    fn reset_on_close(&self) -> bool {
        let at_once = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        self.set(libc::SOL_SOCKET, libc::SO_LINGER, at_once)
    }

    fn file(&self) -> Option<file::Identity> {
        file::identify(self.0)
    }

    #[inline(always)]
    fn block_signals(&self, before: &mut signals::Mask) -> bool {
        signals::block(before)
    }

    #[inline(always)]
    fn restore_signals(&self, mask: &signals::Mask) {
        signals::restore(mask);
    }

    fn now_ms(&self) -> Option<u64> {
        clock::now_ms()
    }

    fn is_held(&self, wanted: &BindAddress) -> bool {
        listeners::is_held(*self, wanted)
    }

    fn spare(&self, address: Endpoint) -> Option<Spare> {
        Spare::open(address, *self)
    }

    fn pause(&self) {
        clock::pause();
    }

    fn begin_wait(&self) -> signals::Wait {
        signals::Wait::begin()
    }

    fn end_wait(&self, wait: signals::Wait) {
        wait.end();
    }

    fn sleep_until(&self, wait: &signals::Wait, moment_ms: u64) -> Sleep {
        clock::sleep_until(wait, moment_ms)
    }
}
