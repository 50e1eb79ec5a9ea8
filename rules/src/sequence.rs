//! What is done before, instead of and after a call, in which order.
//!
//! What is added is advice and never a veto: if it fails, the program runs as if nobody had
//! attended to it. Its own call is made with its own arguments, and once; `bind` alone is made
//! again, and only after `EADDRINUSE`.

use crate::calls::{Calls, Errno, OwnCall, Sleep, SocketOption};
use crate::diag::Wanted;
use crate::endpoint::Endpoint;
use crate::guard::{self, Guard};
use crate::policy::{self, BindSoFar, Decision, Ending, Options, Reason};
use crate::report::{self, Function};
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
    calls: &impl Calls,
    bind: &impl OwnCall,
    address: Option<Endpoint>,
) -> Result<(), Errno> {
    let Some(address) = address else {
        report::left_alone(Function::Bind, calls, Reason::NotTcp);
        return Err(Errno::IN_USE);
    };
    let options = match policy::bind(settings, calls, address.port, BindSoFar::InUse) {
        Decision::Act(options) => options,
        Decision::StepAside(reason) => {
            report::left_alone(Function::Bind, calls, reason);
            return Err(Errno::IN_USE);
        }
    };
    let result = bind_with(options, calls, bind, address);
    match result {
        Ok(()) => report::bound(address, options),
        Err(Errno::IN_USE) if settings.wait_ms > 0 => {
            return wait_to_bind(settings, options, calls, bind, address);
        }
        Err(error) => report::not_bound(address, options, error == Errno::IN_USE),
    }
    result
}

/// After a `bind` has succeeded: lets other copies of the program bind the port as well, if the
/// settings have it so.
pub fn bound(settings: &Settings, calls: &impl Calls, address: Option<Endpoint>) {
    if let Some(address) = address {
        let decision = policy::bind(settings, calls, address.port, BindSoFar::Bound);
        carry_out(Function::Bind, calls, decision);
    }
}

/// A `listen`, with what its accepted sockets are to inherit.
///
/// # Errors
///
/// The kernel's.
pub fn listen(settings: &Settings, calls: &impl Calls, listen: &impl OwnCall) -> Result<(), Errno> {
    // One question tells what most servers need no more than: they have set the option themselves.
    let before = if settings.reuse_address {
        calls.option(SocketOption::ReuseAddress)
    } else {
        Some(0)
    };
    let decision = match before {
        None => Decision::StepAside(Reason::NotTcp),
        Some(1..) if settings.linger != Linger::Graceful => Decision::StepAside(Reason::SetAlready),
        Some(_) => policy::listen(settings, calls),
    };
    match decision {
        Decision::Act(options) => {
            let options = Options {
                reuse_address: options.reuse_address && before == Some(0),
                ..options
            };
            // A handler that jumped out in the middle would leave the option set on a socket that
            // does not listen: another copy could bind its port, which may be the program's lock.
            held(calls, |_| {
                let done = apply(options, calls);
                let result = listen.make();
                // In use is what another copy has bound as well. It can listen only while this one
                // carries the option: with that gone again from either, none of the two could.
                if done.reuse_address && result.is_err_and(|error| error != Errno::IN_USE) {
                    calls.set_option(SocketOption::ReuseAddress, 0);
                }
                report(Function::Listen, calls, options, done);
                result
            })
        }
        Decision::StepAside(reason) => listen_as_it_is(settings, calls, listen, reason),
    }
}

/// A `listen` before which nothing is done.
#[cold]
#[inline(never)]
fn listen_as_it_is(
    settings: &Settings,
    calls: &impl Calls,
    listen: &impl OwnCall,
    reason: Reason,
) -> Result<(), Errno> {
    report::left_alone(Function::Listen, calls, reason);
    let result = listen.make();
    if result.is_ok() && reason == Reason::Unbound {
        // The kernel has chosen a port.
        carry_out(Function::Listen, calls, policy::listen(settings, calls));
    }
    result
}

/// Before a `connect`.
pub fn connect(settings: &Settings, calls: &impl Calls) {
    carry_out(Function::Connect, calls, policy::connect(settings, calls));
}

/// Before the program sets `SO_REUSEADDR`: whether the socket carries it.
pub fn carries_the_option(settings: &Settings, calls: &impl Calls) -> bool {
    settings.reuse_address
        && calls
            .option(SocketOption::ReuseAddress)
            .is_some_and(|value| value != 0)
}

/// After the program has set `option` to `value`: sets it again if it was cleared where it counts.
/// `carried` is whether the socket carried `SO_REUSEADDR` before, see [`carries_the_option`].
pub fn option_set(
    settings: &Settings,
    calls: &impl Calls,
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
            ending: Ending::Forgotten,
            ..Options::NONE
        },
        _ => return,
    };
    let decision = policy::cleared(settings, calls, wanted, carried, |local| {
        calls.is_held(&Wanted {
            of_listeners: true,
            ..self::wanted(calls, local)
        })
    });
    carry_out(Function::Setsockopt, calls, decision);
}

/// Before a `close`.
pub fn close(settings: &Settings, calls: &impl Calls) {
    carry_out(Function::Close, calls, policy::close(settings, calls));
}

/// Does what is decided, and reports it.
fn carry_out(function: Function, calls: &impl Calls, decision: Decision) {
    match decision {
        Decision::Act(options) => {
            // With TCP_REPAIR it is 2, which is not set by setsockopt(2).
            let is_off = || calls.option(SocketOption::ReuseAddress) == Some(0);
            let options = Options {
                reuse_address: options.reuse_address && is_off(),
                ..options
            };
            let done = apply(options, calls);
            report(function, calls, options, done);
        }
        Decision::StepAside(reason) => report::left_alone(function, calls, reason),
    }
}

/// Sets the options; returns those that the kernel took.
#[expect(clippy::inline_always)] // In one piece with `listen`, see `policy::listen`.
#[inline(always)]
fn apply(options: Options, calls: &impl Calls) -> Options {
    let taken = match options.ending {
        Ending::AsItIs => true,
        Ending::Forgotten => calls.set_option(SocketOption::Linger2, -1),
        Ending::Remembered => calls.set_option(SocketOption::Linger2, 0),
        Ending::Reset => calls.reset_on_close(),
    };
    Options {
        reuse_address: options.reuse_address && calls.set_option(SocketOption::ReuseAddress, 1),
        reuse_port: options.reuse_port && calls.set_option(SocketOption::ReusePort, 1),
        ending: if taken {
            options.ending
        } else {
            Ending::AsItIs
        },
    }
}

#[inline]
fn report(function: Function, calls: &impl Calls, wanted: Options, done: Options) {
    if report::tells_of_calls() {
        tell(function, calls, wanted, done);
    }
}

#[cold]
#[inline(never)]
fn tell(function: Function, calls: &impl Calls, wanted: Options, done: Options) {
    if done != Options::NONE {
        report::acted(function, calls, done);
    }
    if done != wanted {
        report::refused(function, calls, wanted.without(done));
    }
}

/// Does something with signals held back; and all the same where the kernel would not hold them.
fn held<T>(calls: &impl Calls, ours: impl FnOnce(bool) -> T) -> T {
    let mask = calls.hold_signals();
    let result = ours(mask.is_some());
    if let Some(mask) = mask {
        calls.release_signals(mask);
    }
    result
}

/// Binds with the options set, and puts back what the program had.
fn bind_with(
    options: Options,
    calls: &impl Calls,
    bind: &impl OwnCall,
    address: Endpoint,
) -> Result<(), Errno> {
    // Only what is off is set, and only what was set is put back.
    let is_off = |wanted: bool, option| wanted && calls.option(option) == Some(0);
    // A handler that jumped out in the middle would leave an option set on the program's socket.
    held(calls, |blocked| {
        let address_is_off = is_off(options.reuse_address, SocketOption::ReuseAddress);
        // Copies that are to share the port may be bound at the same moment, and one over the
        // other.
        let guard = if address_is_off && !options.reuse_port && blocked {
            guard_of(calls, address)?
        } else {
            None
        };
        let reuse_address = address_is_off && calls.set_option(SocketOption::ReuseAddress, 1);
        let reuse_port = is_off(options.reuse_port, SocketOption::ReusePort)
            && calls.set_option(SocketOption::ReusePort, 1);
        let result = bind.make();
        if reuse_address {
            calls.set_option(SocketOption::ReuseAddress, 0);
        }
        // A bound socket keeps it: the next copy needs it there.
        if reuse_port && result.is_err() {
            calls.set_option(SocketOption::ReusePort, 0);
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
fn guard_of<C: Calls>(calls: &C, address: Endpoint) -> Result<Option<C::Spare>, Errno> {
    let wanted = wanted(calls, address);
    let of_listeners = Wanted {
        of_listeners: true,
        ..wanted
    };
    // The kernel refuses the second try then, and there is nothing to guard.
    if calls.is_held(&of_listeners) {
        return Ok(None);
    }
    let guard = match guard::take(calls, &wanted) {
        Guard::Held(guard) => Some(guard),
        Guard::Missing => None,
        Guard::Refused => return Err(Errno::IN_USE),
    };
    if calls.is_held(&wanted) {
        report::held_by_another(address);
        return Err(Errno::IN_USE);
    }
    Ok(guard)
}

/// Tries again with a growing pause, until the address is free or the time is up.
fn wait_to_bind(
    settings: &Settings,
    options: Options,
    calls: &impl Calls,
    bind: &impl OwnCall,
    address: Endpoint,
) -> Result<(), Errno> {
    let wait = calls.begin_wait();
    let result = wait_within(settings, options, calls, bind, address, &wait);
    calls.end_wait(wait);
    result
}

fn wait_within<C: Calls>(
    settings: &Settings,
    options: Options,
    calls: &C,
    bind: &impl OwnCall,
    address: Endpoint,
    wait: &C::Wait,
) -> Result<(), Errno> {
    // That one does not go by itself, and a program that looks for a free port would wait at each
    // that is taken.
    if !settings.wait_for_listeners && calls.is_held(&wanted(calls, address)) {
        report::not_waiting(address);
        return Err(Errno::IN_USE);
    }
    if calls.wait_has_ended() {
        report::asked_to_end(address);
        return Err(Errno::IN_USE);
    }
    let already = calls.waited_ms();
    if already == 0 {
        report::waiting(address, settings.wait_ms);
    }
    let file = calls.file();
    // A part of the first millisecond has gone already.
    let mut now = calls.now_ms().map(|now| now.saturating_add(1));
    let start = now.map(|now| now.saturating_sub(already));
    let mut pause = 1;
    while let (Some(start), Some(so_far)) = (start, now) {
        let waited = so_far.saturating_sub(start);
        let left = u64::from(settings.wait_ms).saturating_sub(waited);
        let until = so_far.saturating_add(left.min(pause));
        if left == 0 {
            break;
        }
        match calls.sleep_until(wait, until) {
            Sleep::Over => {}
            Sleep::Failed => break,
            Sleep::AskedToEnd => {
                report::asked_to_end(address);
                return Err(Errno::IN_USE);
            }
        }
        // Another thread may have closed the descriptor meanwhile, and its number be another
        // socket's.
        if calls.file() != file {
            break;
        }
        let (options, result) = bind_plain_first(options, calls, bind, address);
        now = calls.now_ms();
        if result != Err(Errno::IN_USE) {
            let waited = now.map_or(waited, |now| now.saturating_sub(start));
            match result {
                Ok(()) => report::bound_after(address, options, waited),
                Err(_) => report::waited_in_vain(address, false, waited),
            }
            return result;
        }
        pause = LONGEST_PAUSE_MS.min(pause.saturating_mul(2));
    }
    let waited = match (start, now.or(start)) {
        (Some(start), Some(now)) => now.saturating_sub(start),
        _ => 0,
    };
    report::waited_in_vain(address, true, waited);
    Err(Errno::IN_USE)
}

/// What the socket is to be bound to, as the kernel sees it.
fn wanted(calls: &impl Calls, address: Endpoint) -> Wanted {
    Wanted {
        address,
        dual_stack: calls.option(SocketOption::Ipv6Only) == Some(0),
        interface: calls.option(SocketOption::Interface).map(i32::unsigned_abs),
        of_listeners: false,
    }
}

/// As the first try was: without any option, and with the options only if the address is in use.
/// Another copy may wait for the same port, and take a failure of `bind` as its lock. Returns the
/// options of the last try.
fn bind_plain_first(
    options: Options,
    calls: &impl Calls,
    bind: &impl OwnCall,
    address: Endpoint,
) -> (Options, Result<(), Errno>) {
    // Copies that are to share the port have to say so before they bind.
    if !options.reuse_port {
        let result = bind.make();
        if result != Err(Errno::IN_USE) {
            return (Options::NONE, result);
        }
    }
    (options, bind_with(options, calls, bind, address))
}
