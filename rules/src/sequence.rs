//! The steps before, instead of and after a call, in order.
//!
//! What is added is advice and never a veto: if it fails, the program runs as without libreuse. Its
//! own call is made with its own arguments, and once; `bind` alone is made again, and only after
//! `EADDRINUSE`.

use crate::calls::{Errno, Kernel, OriginalCall, Sleep, SocketOption};
use crate::diag::BindAddress;
use crate::endpoint::Endpoint;
use crate::guard::{self, Guard};
use crate::policy::{self, BindSoFar, CloseMode, Decision, Options, Reason};
use crate::report::{self, Function, Place};
use crate::settings::{Linger, Settings};

/// Between two tries at an address: the pause grows up to this.
const LONGEST_PAUSE_MS: u64 = 100;

/// After the plain `bind` has failed with `EADDRINUSE`: binds over what an earlier run left behind,
/// waiting for it if the settings allow. `address` is what the kernel has read of the program's
/// address; `None` if it is neither IPv4 nor IPv6.
///
/// # Errors
///
/// The last of the kernel's.
pub fn bind_in_use(
    settings: &Settings,
    kernel: &impl Kernel,
    bind: &impl OriginalCall,
    address: Option<Endpoint>,
) -> Result<(), Errno> {
    let Some(address) = address else {
        report::stepped_aside(Function::Bind, kernel, Reason::NotTcp);
        return Err(Errno::IN_USE);
    };
    let options = match policy::bind(settings, kernel, address.port, BindSoFar::InUse) {
        Decision::Act(options) => options,
        Decision::StepAside(reason) => {
            report::stepped_aside(Function::Bind, kernel, reason);
            return Err(Errno::IN_USE);
        }
    };
    let result = bind_with(options, kernel, bind, address);
    match result {
        Ok(()) => report::bound(kernel, address, options),
        Err(Errno::IN_USE) if settings.wait_ms > 0 => {
            return wait_to_bind(settings, options, kernel, bind, address);
        }
        Err(error) => report::not_bound(kernel, address, options, error == Errno::IN_USE),
    }
    result
}

/// After a `bind` has succeeded: lets other copies of the program bind the port as well, if the
/// settings have it so.
pub fn bound(settings: &Settings, kernel: &impl Kernel, address: Option<Endpoint>) {
    if let Some(address) = address {
        let decision = policy::bind(settings, kernel, address.port, BindSoFar::Bound);
        carry_out(Function::Bind, kernel, decision);
    }
}

/// A `listen`, with what its accepted sockets are to inherit.
///
/// # Errors
///
/// The kernel's.
#[inline(always)]
pub fn listen(
    settings: &Settings,
    kernel: &impl Kernel,
    listen: &impl OriginalCall,
) -> Result<(), Errno> {
    let wanted = Options::of_a_connection(settings);
    let aside = |reason| listen_as_it_is(settings, kernel, listen, reason);
    // One question tells what most servers need no more than: they have set the option themselves.
    let options = if wanted.reuse_address {
        let Some(before) = kernel.option(SocketOption::ReuseAddress) else {
            return aside(Reason::NotTcp);
        };
        Options {
            reuse_address: before == 0,
            ..wanted
        }
    } else {
        wanted
    };
    if options.is_none() {
        return aside(if wanted.reuse_address {
            Reason::SetAlready
        } else {
            Reason::NothingSet
        });
    }
    match policy::may_listen(settings, kernel) {
        Ok(()) => {
            // A handler that jumped out in the middle would leave the option set on a socket that
            // does not listen: another copy could bind its port, which may be the program's lock.
            with_signals_blocked(kernel, |_| {
                let taken = Taken {
                    close_mode: set_close_mode(options.close_mode, kernel),
                    reuse_address: options.reuse_address
                        && kernel.set_option(SocketOption::ReuseAddress, 1),
                    reuse_port: false,
                };
                let result = listen.make();
                if let Err(error) = result {
                    listen_failed(kernel, taken, error);
                }
                report(Function::Listen, kernel, options, taken);
                result
            })
        }
        Err(reason) => aside(reason),
    }
}

/// Puts back what was set before a `listen` that the kernel refused.
#[cold]
#[inline(never)]
fn listen_failed(kernel: &impl Kernel, taken: Taken, error: Errno) {
    // In use is what another copy has bound as well. It can listen only while this one carries the
    // option: with that gone again from either, none of the two could.
    if taken.reuse_address && error != Errno::IN_USE {
        set_seldom(kernel, SocketOption::ReuseAddress, 0);
    }
}

/// A `listen` before which nothing is done.
#[cold]
#[inline(never)]
fn listen_as_it_is(
    settings: &Settings,
    kernel: &impl Kernel,
    listen: &impl OriginalCall,
    reason: Reason,
) -> Result<(), Errno> {
    report::stepped_aside(Function::Listen, kernel, reason);
    let result = listen.make();
    if result.is_ok() && reason == Reason::Unbound {
        // The kernel has chosen a port.
        carry_out(Function::Listen, kernel, policy::listen(settings, kernel));
    }
    result
}

/// Before a `connect`.
pub fn connect(settings: &Settings, kernel: &impl Kernel) {
    carry_out_at_once(Function::Connect, kernel, policy::connect(settings, kernel));
}

/// Before the program sets `SO_REUSEADDR`: whether the socket carries it.
pub fn carries_the_option(settings: &Settings, kernel: &impl Kernel) -> bool {
    settings.reuse_address
        && kernel
            .option(SocketOption::ReuseAddress)
            .is_some_and(|value| value != 0)
}

/// After the program has set `option` to `value`: sets it again if it was cleared where it counts.
/// `carried` is whether the socket carried `SO_REUSEADDR` before, see [`carries_the_option`].
pub fn option_set(
    settings: &Settings,
    kernel: &impl Kernel,
    option: SocketOption,
    value: i32,
    carried: bool,
) {
    let graceful = settings.linger == Linger::Graceful;
    let wanted = match option {
        SocketOption::ReuseAddress if value == 0 && settings.reuse_address => Options {
            reuse_address: true,
            ..Options::NONE
        },
        SocketOption::Linger2 if value >= 0 && graceful => Options {
            close_mode: CloseMode::Graceful,
            ..Options::NONE
        },
        _ => return,
    };
    let decision = policy::cleared(settings, kernel, wanted, carried, |local| {
        kernel.is_held(&BindAddress {
            listeners_only: true,
            ..self::wanted(kernel, local)
        })
    });
    carry_out(Function::Setsockopt, kernel, decision);
}

/// Before a `close`.
pub fn close(settings: &Settings, kernel: &impl Kernel) {
    carry_out_at_once(Function::Close, kernel, policy::close(settings, kernel));
}

/// Does what is decided, and reports it.
#[inline(never)]
fn carry_out(function: Function, kernel: &impl Kernel, decision: Decision) {
    carry_out_at_once(function, kernel, decision);
}

/// The same, in one piece with what calls it: with `LIBREUSE_LINGER=graceful` every connection
/// passes here.
#[inline(always)]
fn carry_out_at_once(function: Function, kernel: &impl Kernel, decision: Decision) {
    match decision {
        Decision::Act(options) => {
            // With TCP_REPAIR it is 2, which is not set by setsockopt(2).
            let is_off = || is_off(kernel, SocketOption::ReuseAddress);
            let options = Options {
                reuse_address: options.reuse_address && is_off(),
                ..options
            };
            let taken = Taken {
                close_mode: set_close_mode(options.close_mode, kernel),
                reuse_address: options.reuse_address
                    && set_seldom(kernel, SocketOption::ReuseAddress, 1),
                reuse_port: options.reuse_port && set_seldom(kernel, SocketOption::ReusePort, 1),
            };
            report(function, kernel, options, taken);
        }
        Decision::StepAside(reason) => report::stepped_aside(function, kernel, reason),
    }
}

/// Which of some options were to be set, and taken by the kernel. Flags, and not these options:
/// whoever reports nothing need not put any together.
#[derive(Clone, Copy)]
struct Taken {
    close_mode: bool,
    reuse_address: bool,
    reuse_port: bool,
}

impl Taken {
    /// These options, where `wanted` are all that were to be set.
    fn of(self, wanted: Options) -> Options {
        Options {
            reuse_address: self.reuse_address,
            reuse_port: self.reuse_port,
            close_mode: if self.close_mode {
                wanted.close_mode
            } else {
                CloseMode::Unchanged
            },
        }
    }
}

/// Sets how the connection is to end; false if it is left as it is, and if the kernel refused.
#[inline(always)]
fn set_close_mode(close_mode: CloseMode, kernel: &impl Kernel) -> bool {
    let linger2 = match close_mode {
        CloseMode::Unchanged => return false,
        CloseMode::Reset => return kernel.reset_on_close(),
        CloseMode::Graceful => -1,
        CloseMode::TimeWait => 0,
    };
    kernel.set_option(SocketOption::Linger2, linger2)
}

/// Sets an option where no usual call passes: the library has [`Kernel::set_option`] in one piece
/// with what calls it, at 60 bytes each.
#[cold]
#[inline(never)]
fn set_seldom(kernel: &impl Kernel, option: SocketOption, value: i32) -> bool {
    kernel.set_option(option, value)
}

/// Whether the socket has an option, and it is off: the same for [`Kernel::option`].
#[cold]
#[inline(never)]
fn is_off(kernel: &impl Kernel, option: SocketOption) -> bool {
    kernel.option(option) == Some(0)
}

#[inline(always)]
fn report(function: Function, kernel: &impl Kernel, wanted: Options, taken: Taken) {
    if report::logs_calls(kernel) {
        tell(function, kernel, wanted, taken);
    }
}

#[cold]
#[inline(never)]
fn tell(function: Function, kernel: &impl Kernel, wanted: Options, taken: Taken) {
    let done = taken.of(wanted);
    let place = Place::of(kernel);
    if done != Options::NONE {
        report::acted(kernel, function, place, done);
    }
    if done != wanted {
        report::refused(kernel, function, place, wanted.without(done));
    }
}

/// Does something with signals blocked; and all the same where the kernel refused to block them.
#[inline(always)]
fn with_signals_blocked<C: Kernel, T>(kernel: &C, ours: impl FnOnce(bool) -> T) -> T {
    let mut before = C::Mask::default();
    let blocked = kernel.block_signals(&mut before);
    let result = ours(blocked);
    if blocked {
        kernel.restore_signals(&before);
    }
    result
}

/// Binds with the options set, and puts back what the program had.
fn bind_with(
    options: Options,
    kernel: &impl Kernel,
    bind: &impl OriginalCall,
    address: Endpoint,
) -> Result<(), Errno> {
    // Only what is off is set, and only what was set is put back.
    let is_off = |wanted: bool, option| wanted && is_off(kernel, option);
    // A handler that jumped out in the middle would leave an option set on the program's socket.
    with_signals_blocked(kernel, |blocked| {
        let address_is_off = is_off(options.reuse_address, SocketOption::ReuseAddress);
        // Copies that are to share the port may be bound at the same moment, and one over the
        // other.
        let guard = if address_is_off && !options.reuse_port && blocked {
            guard_of(kernel, address)?
        } else {
            None
        };
        let reuse_address = address_is_off && set_seldom(kernel, SocketOption::ReuseAddress, 1);
        let reuse_port = is_off(options.reuse_port, SocketOption::ReusePort)
            && set_seldom(kernel, SocketOption::ReusePort, 1);
        let result = bind.make();
        if reuse_address {
            set_seldom(kernel, SocketOption::ReuseAddress, 0);
        }
        // A bound socket keeps it: the next copy needs it there.
        if reuse_port && result.is_err() {
            set_seldom(kernel, SocketOption::ReusePort, 0);
        }
        drop(guard);
        result
    })
}

/// Takes the guard of the port, and looks for live sockets that carry the option themselves and do
/// not listen yet: the kernel would bind the program's over them, and then refuse them their
/// `listen`.
///
/// # Errors
///
/// There is one, so the address stays in use.
#[cold]
#[inline(never)]
fn guard_of<C: Kernel>(kernel: &C, address: Endpoint) -> Result<Option<C::Spare>, Errno> {
    let wanted = wanted(kernel, address);
    let listeners_only = BindAddress {
        listeners_only: true,
        ..wanted
    };
    // The kernel refuses the second try then, and there is nothing to guard.
    if kernel.is_held(&listeners_only) {
        return Ok(None);
    }
    let guard = match guard::take(kernel, &wanted) {
        Guard::Held(guard) => Some(guard),
        Guard::Missing => None,
        Guard::Refused => return Err(Errno::IN_USE),
    };
    if kernel.is_held(&wanted) {
        report::held_by_another(kernel, address);
        return Err(Errno::IN_USE);
    }
    Ok(guard)
}

/// Tries again with a growing pause, until the address is free or the time is up.
fn wait_to_bind(
    settings: &Settings,
    options: Options,
    kernel: &impl Kernel,
    bind: &impl OriginalCall,
    address: Endpoint,
) -> Result<(), Errno> {
    let wait = kernel.begin_wait();
    let result = wait_within(settings, options, kernel, bind, address, &wait);
    kernel.end_wait(wait);
    result
}

fn wait_within<C: Kernel>(
    settings: &Settings,
    options: Options,
    kernel: &C,
    bind: &impl OriginalCall,
    address: Endpoint,
    wait: &C::Wait,
) -> Result<(), Errno> {
    // That one does not go by itself, and a program that looks for a free port would wait at each
    // that is taken.
    if !settings.wait_for_listeners && kernel.is_held(&wanted(kernel, address)) {
        report::not_waiting(kernel, address);
        return Err(Errno::IN_USE);
    }
    if kernel.wait_has_ended() {
        report::asked_to_end(kernel, address);
        return Err(Errno::IN_USE);
    }
    let already = kernel.waited_ms();
    if already == 0 {
        report::waiting(kernel, address, settings.wait_ms);
    }
    let file = kernel.file();
    // A part of the first millisecond has gone already.
    let mut now = kernel.now_ms().map(|now| now.saturating_add(1));
    let start = now.map(|now| now.saturating_sub(already));
    let mut pause = 1;
    while let (Some(start), Some(so_far)) = (start, now) {
        let waited = so_far.saturating_sub(start);
        let left = u64::from(settings.wait_ms).saturating_sub(waited);
        let until = so_far.saturating_add(left.min(pause));
        if left == 0 {
            break;
        }
        match kernel.sleep_until(wait, until) {
            Sleep::Over => {}
            Sleep::Failed => break,
            Sleep::AskedToEnd => {
                report::asked_to_end(kernel, address);
                return Err(Errno::IN_USE);
            }
        }
        // Another thread may have closed the descriptor meanwhile, and its number be another
        // socket's.
        if kernel.file() != file {
            break;
        }
        let (options, result) = bind_plain_first(options, kernel, bind, address);
        now = kernel.now_ms();
        if result != Err(Errno::IN_USE) {
            let waited = now.map_or(waited, |now| now.saturating_sub(start));
            match result {
                Ok(()) => report::bound_after(kernel, address, options, waited),
                Err(_) => report::waited_in_vain(kernel, address, false, waited),
            }
            return result;
        }
        pause = LONGEST_PAUSE_MS.min(pause.saturating_mul(2));
    }
    let waited = match (start, now.or(start)) {
        (Some(start), Some(now)) => now.saturating_sub(start),
        _ => 0,
    };
    report::waited_in_vain(kernel, address, true, waited);
    Err(Errno::IN_USE)
}

/// What the socket is to be bound to, as the kernel sees it.
fn wanted(kernel: &impl Kernel, address: Endpoint) -> BindAddress {
    BindAddress {
        address,
        dual_stack: kernel.option(SocketOption::Ipv6Only) == Some(0),
        interface: kernel
            .option(SocketOption::Interface)
            .map(i32::unsigned_abs),
        listeners_only: false,
    }
}

/// As the first try was: without any option, and with the options only if the address is in use.
/// Another copy may wait for the same port, and take a failure of `bind` as its lock. Returns the
/// options of the last try.
fn bind_plain_first(
    options: Options,
    kernel: &impl Kernel,
    bind: &impl OriginalCall,
    address: Endpoint,
) -> (Options, Result<(), Errno>) {
    // Copies that are to share the port have to say so before they bind.
    if !options.reuse_port {
        let result = bind.make();
        if result != Err(Errno::IN_USE) {
            return (Options::NONE, result);
        }
    }
    (options, bind_with(options, kernel, bind, address))
}
