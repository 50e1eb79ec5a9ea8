//! `bind`: what an earlier run left behind is no obstacle, and everything else still is.

use crate::support::{Program, TcpState, own_network, wait_for};

/// Serves one connection and closes it first, then says what port it is on.
const LEAVES_TIME_WAIT: &str = "
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
client = socket.create_connection(('127.0.0.1', 5000))
accepted, _ = listener.accept()
accepted.close()
client.close()
";

#[test]
fn succeeds_over_time_wait() {
    for (shimmed, expected) in [(false, "EADDRINUSE"), (true, "bound")] {
        own_network();
        let program = Program::python(&format!(
            "{LEAVES_TIME_WAIT}\nlistener.close()\n
try:
    socket.socket().bind(('127.0.0.1', 5000))
    print('bound')
except OSError as error:
    print(errno.errorcode[error.errno])
"
        ))
        .shimmed_if(shimmed);
        assert_eq!(program.output().trim(), expected);
        wait_for(5000, TcpState::TimeWait, 1);
    }
}
