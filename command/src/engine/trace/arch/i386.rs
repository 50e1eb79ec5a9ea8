//! The numbers of i386's system calls, which libc has for 32-bit programs alone.

/// `arch/x86/entry/syscalls/syscall_32.tbl`.
pub(super) mod syscall {
    pub(in super::super) const READ: u64 = 3;
    pub(in super::super) const WRITE: u64 = 4;
    pub(in super::super) const CLOSE: u64 = 6;
    pub(in super::super) const EXECVE: u64 = 11;
    pub(in super::super) const PTRACE: u64 = 26;
    pub(in super::super) const MUNMAP: u64 = 91;
    pub(in super::super) const SOCKETCALL: u64 = 102;
    pub(in super::super) const IPC: u64 = 117;
    pub(in super::super) const SIGRETURN: u64 = 119;
    pub(in super::super) const READV: u64 = 145;
    pub(in super::super) const WRITEV: u64 = 146;
    pub(in super::super) const RT_SIGRETURN: u64 = 173;
    pub(in super::super) const RT_SIGPROCMASK: u64 = 175;
    pub(in super::super) const RT_SIGTIMEDWAIT: u64 = 177;
    pub(in super::super) const SENDFILE: u64 = 187;
    pub(in super::super) const MMAP2: u64 = 192;
    pub(in super::super) const SENDFILE64: u64 = 239;
    pub(in super::super) const IO_GETEVENTS: u64 = 247;
    pub(in super::super) const EXIT_GROUP: u64 = 252;
    pub(in super::super) const EPOLL_WAIT: u64 = 256;
    pub(in super::super) const PSELECT6: u64 = 308;
    pub(in super::super) const PPOLL: u64 = 309;
    pub(in super::super) const EPOLL_PWAIT: u64 = 319;
    pub(in super::super) const RECVMMSG: u64 = 337;
    pub(in super::super) const SENDMMSG: u64 = 345;
    pub(in super::super) const EXECVEAT: u64 = 358;
    pub(in super::super) const BIND: u64 = 361;
    pub(in super::super) const CONNECT: u64 = 362;
    pub(in super::super) const LISTEN: u64 = 363;
    pub(in super::super) const ACCEPT4: u64 = 364;
    pub(in super::super) const GETSOCKOPT: u64 = 365;
    pub(in super::super) const SETSOCKOPT: u64 = 366;
    pub(in super::super) const GETSOCKNAME: u64 = 367;
    pub(in super::super) const SENDTO: u64 = 369;
    pub(in super::super) const SENDMSG: u64 = 370;
    pub(in super::super) const RECVFROM: u64 = 371;
    pub(in super::super) const RECVMSG: u64 = 372;
    pub(in super::super) const PREADV2: u64 = 378;
    pub(in super::super) const PWRITEV2: u64 = 379;
    pub(in super::super) const PSELECT6_TIME64: u64 = 413;
    pub(in super::super) const PPOLL_TIME64: u64 = 414;
    pub(in super::super) const RECVMMSG_TIME64: u64 = 417;
    pub(in super::super) const SEMTIMEDOP_TIME64: u64 = 420;
    pub(in super::super) const RT_SIGTIMEDWAIT_TIME64: u64 = 421;
    pub(in super::super) const IO_URING_ENTER: u64 = 426;
    pub(in super::super) const EPOLL_PWAIT2: u64 = 441;
}

/// The first argument of socketcall(2), `include/uapi/linux/net.h`.
pub(super) mod socketcall {
    pub(in super::super) const BIND: u64 = 2;
    pub(in super::super) const CONNECT: u64 = 3;
    pub(in super::super) const LISTEN: u64 = 4;
    pub(in super::super) const ACCEPT: u64 = 5;
    pub(in super::super) const SEND: u64 = 9;
    pub(in super::super) const RECV: u64 = 10;
    pub(in super::super) const SENDTO: u64 = 11;
    pub(in super::super) const RECVFROM: u64 = 12;
    pub(in super::super) const SETSOCKOPT: u64 = 14;
    pub(in super::super) const SENDMSG: u64 = 16;
    pub(in super::super) const RECVMSG: u64 = 17;
    pub(in super::super) const ACCEPT4: u64 = 18;
    pub(in super::super) const RECVMMSG: u64 = 19;
    pub(in super::super) const SENDMMSG: u64 = 20;
}

/// The first argument of ipc(2), `include/uapi/linux/ipc.h`.
pub(super) mod ipc {
    pub(in super::super) const SEMOP: u64 = 1;
    pub(in super::super) const SEMTIMEDOP: u64 = 4;
}
