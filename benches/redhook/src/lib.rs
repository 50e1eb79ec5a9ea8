//! The hooks of libreuse.so as one would first write them: redhook finds the real functions on
//! first use, once_cell holds the settings, and log reports. Same system calls in the same cases as
//! `benches/limit.c`; measured, not for use.

use libc::{c_int, c_void, sockaddr, socklen_t};
use log::{debug, info};
use once_cell::sync::Lazy;
use redhook::{hook, real};
use std::env;
use std::mem;

#[derive(Clone, Copy, PartialEq)]
enum Linger {
    Off,
    Graceful,
    Zero,
}

struct Settings {
    reuse_address: bool,
    linger: Linger,
}

static SETTINGS: Lazy<Settings> = Lazy::new(|| {
    #[cfg(feature = "env_logger")]
    let _ = env_logger::try_init_from_env("LIBREUSE_LOG");
    Settings {
        reuse_address: env::var("LIBREUSE_REUSEADDR").map_or(true, |value| value != "off"),
        linger: match env::var("LIBREUSE_LINGER").as_deref() {
            Ok("graceful") => Linger::Graceful,
            Ok("zero") => Linger::Zero,
            _ => Linger::Off,
        },
    }
});

/// Reads the settings when the library is loaded, as libreuse does.
#[link_section = ".init_array"]
#[used]
static CONSTRUCTOR: extern "C" fn() = {
    extern "C" fn load() {
        Lazy::force(&SETTINGS);
    }
    load
};

fn errno() -> c_int {
    unsafe { *libc::__errno_location() }
}

fn set_errno(value: c_int) {
    unsafe { *libc::__errno_location() = value }
}

fn set<T>(fd: c_int, level: c_int, name: c_int, value: T) {
    let length = mem::size_of::<T>() as socklen_t;
    unsafe { real!(setsockopt)(fd, level, name, (&raw const value).cast(), length) };
}

/// The local port; 0 is none.
fn port(fd: c_int) -> Option<u16> {
    let mut address: libc::sockaddr_in6 = unsafe { mem::zeroed() };
    let mut length = mem::size_of::<libc::sockaddr_in6>() as socklen_t;
    let result = unsafe { libc::getsockname(fd, (&raw mut address).cast(), &mut length) };
    let family = c_int::from(address.sin6_family);
    (result == 0 && (family == libc::AF_INET || family == libc::AF_INET6))
        .then(|| u16::from_be(address.sin6_port))
}

/// The TCP state.
fn state(fd: c_int) -> Option<u8> {
    let mut number = 0_u8;
    let mut length = 1;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    let result =
        unsafe { libc::getsockopt(fd, level, name, (&raw mut number).cast(), &mut length) };
    (result == 0).then_some(number)
}

const CLOSE: u8 = 7;

fn prepare_listener(fd: c_int) {
    debug!("listen {fd}");
    if SETTINGS.reuse_address {
        set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1_i32);
    }
    if SETTINGS.linger == Linger::Graceful {
        set(fd, libc::IPPROTO_TCP, libc::TCP_LINGER2, -1_i32);
    }
}

hook! {
    unsafe fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int => on_bind {
        let before = errno();
        let result = real!(bind)(fd, address, length);
        let in_use = result != 0 && errno() == libc::EADDRINUSE;
        if !in_use || !SETTINGS.reuse_address || state(fd).is_none() {
            return result;
        }
        let mut value: c_int = 0;
        let mut size = mem::size_of::<c_int>() as socklen_t;
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_REUSEADDR,
            (&raw mut value).cast(),
            &mut size,
        );
        if value == 0 {
            set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1_i32);
        }
        let result = real!(bind)(fd, address, length);
        let after = errno();
        if value == 0 {
            set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 0_i32);
        }
        info!("bind {fd}: tried again");
        set_errno(if result == 0 { before } else { after });
        result
    }
}

hook! {
    unsafe fn listen(fd: c_int, backlog: c_int) -> c_int => on_listen {
        let before = errno();
        let bound = port(fd);
        if bound.is_some_and(|port| port != 0) && state(fd).is_some() {
            prepare_listener(fd);
        }
        set_errno(before);
        let result = real!(listen)(fd, backlog);
        if result == 0 && bound == Some(0) {
            if port(fd).is_some_and(|port| port != 0) && state(fd).is_some() {
                prepare_listener(fd);
            }
            set_errno(before);
        }
        result
    }
}

hook! {
    unsafe fn connect(
        fd: c_int,
        address: *const sockaddr,
        length: socklen_t
    ) -> c_int => on_connect {
        let before = errno();
        if SETTINGS.linger == Linger::Graceful && state(fd) == Some(CLOSE) {
            debug!("connect {fd}");
            set(fd, libc::IPPROTO_TCP, libc::TCP_LINGER2, -1_i32);
        }
        set_errno(before);
        real!(connect)(fd, address, length)
    }
}

hook! {
    unsafe fn setsockopt(
        fd: c_int, level: c_int, name: c_int, value: *const c_void, length: socklen_t
    ) -> c_int => on_setsockopt {
        let result = real!(setsockopt)(fd, level, name, value, length);
        if result != 0 {
            return result;
        }
        let before = errno();
        if (level, name) == (libc::SOL_SOCKET, libc::SO_REUSEADDR) {
            if SETTINGS.reuse_address && *value.cast::<c_int>() == 0 && state(fd) != Some(CLOSE) {
                debug!("setsockopt {fd}");
                set(fd, level, name, 1_i32);
            }
        } else if (level, name) == (libc::IPPROTO_TCP, libc::TCP_LINGER2)
            && SETTINGS.linger == Linger::Graceful
            && *value.cast::<c_int>() >= 0
            && state(fd) != Some(CLOSE)
        {
            debug!("setsockopt {fd}");
            set(fd, level, name, -1_i32);
        }
        set_errno(before);
        result
    }
}

hook! {
    unsafe fn close(fd: c_int) -> c_int => on_close {
        if SETTINGS.linger != Linger::Off {
            let before = errno();
            debug!("close {fd}");
            if SETTINGS.linger == Linger::Graceful {
                set(fd, libc::IPPROTO_TCP, libc::TCP_LINGER2, -1_i32);
            } else if matches!(state(fd), Some(1 | 3..=5 | 11)) {
                let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
                set(fd, libc::SOL_SOCKET, libc::SO_LINGER, at_once);
            }
            set_errno(before);
        }
        real!(close)(fd)
    }
}
