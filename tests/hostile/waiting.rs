//! `LIBREUSE_WAIT` amid signals, and while another thread goes on.

use crate::host::Libc;
use support::matrix::changes_nothing_when;
use support::{Program, own_network, wait_until};

/// Results are those without the shim, each after the whole wait and with the socket as it was;
/// `wait.c` checks it.
#[test]
fn waits_through_signals_and_leaves_no_trace() {
    for libc in Libc::BOTH {
        let control = libc.host("wait.c");
        let waiting = control
            .clone()
            .argument("250")
            .shimmed()
            .with("LIBREUSE_WAIT", "250ms,listeners");
        changes_nothing_when(&control, &waiting, libc.settings());
    }
}

/// Another thread may close the socket meanwhile, and its number then be another one's.
#[test]
fn lets_go_of_a_descriptor_that_stands_for_something_else() {
    let text = "
import threading
live = socket.create_server(('127.0.0.1', 5000))
waiting = socket.socket()
number = waiting.fileno()
def bind():
    try:
        waiting.bind(('127.0.0.1', 5000))
    except OSError as error:
        print(errno.errorcode[error.errno])
thread = threading.Thread(target=bind)
thread.start()
sys.stdin.readline()
os.close(number)
other = socket.socket()
# Until it has looked again. A bind that has begun goes on with the socket that it began with.
thread.join(20)
live.close()
thread.join()
print(other.fileno() == number, other.getsockname())
os._exit(0)
";
    for shimmed in [false, true] {
        own_network();
        let mut program = Program::python(text)
            .shimmed_if(shimmed)
            .with("LIBREUSE_WAIT", "10m,listeners")
            .with("LIBREUSE_LOG", "info")
            .start();
        if shimmed {
            wait_until("the bind to wait", || {
                program.stderr_so_far().contains("waiting for up to")
            });
            program.say("").expect("EADDRINUSE");
        } else {
            program.expect("EADDRINUSE").say("");
        }
        program.expect("True ('0.0.0.0', 0)");
    }
}
