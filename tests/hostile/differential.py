# Random sequences of socket calls over three processes, with forks and passed descriptors. Prints
# what each call gave, one line a call; `#` lines tell sequences apart. The choice of the calls
# depends on the seed alone, so that two runs can be compared.
import pickle

NAMES = 'abcdef'


def work(channel):
    """Makes the calls that come over a channel, until it ends."""
    sockets = {}
    while True:
        data, fds, _, _ = socket.recv_fds(channel, 65536, 1)
        if not data:
            os._exit(0)
        call, name, *arguments = pickle.loads(data)
        sent = []
        try:
            result = CALLS[call](sockets, name, fds, sent, *arguments)
        except OSError as error:
            result = errno.errorcode[error.errno]
        except KeyError:
            result = 'none'
        reply = pickle.dumps('ok' if result is None else result)
        socket.send_fds(channel, [reply], sent[:1])
        for each in fds:
            os.close(each)


def make(sockets, name, *_):
    sockets[name] = socket.socket()
    sockets[name].settimeout(0)


def take(sockets, name, fds, _):
    sockets[name] = socket.socket(fileno=os.dup(fds[0]))


def accept(sockets, name, _fds, _sent, new):
    sockets[new] = sockets[name].accept()[0]
    sockets[new].settimeout(0)


def connect(sockets, name, _fds, _sent, port):
    sockets[name].settimeout(5)
    try:
        sockets[name].connect(('127.0.0.1', port))
    finally:
        sockets[name].settimeout(0)
    settle()


def close(sockets, name, *_):
    sockets.pop(name).close()
    settle()


def settle():
    """What a call has set off goes on after it, for milliseconds on a busy machine."""
    under_way = {'02', '03', '04', '09', '0B'} # SYN_SENT, SYN_RECV, FIN_WAIT1, LAST_ACK, CLOSING
    for _ in range(100):
        with open('/proc/net/tcp') as table:
            rows = [row.split() for row in table][1:]
        # The fifth column begins with what is not acknowledged yet.
        if not any(row[3] in under_way or int(row[4][:8], 16) for row in rows):
            break
        time.sleep(0.01)


def send(sockets, name, *_):
    sent = sockets[name].send(b'abc')
    settle()
    return sent


def shutdown(sockets, name, *_):
    sockets[name].shutdown(socket.SHUT_WR)
    settle()


def fork(sockets, *_):
    """A child closes what it has inherited, by the library's own close."""
    child = os.fork()
    if child == 0:
        for each in sockets.values():
            each.close()
        os._exit(0)
    os.waitpid(child, 0)
    settle()


REUSE = (socket.SOL_SOCKET, socket.SO_REUSEADDR)
CALLS = {
    'socket': make,
    'take': take,
    'pass': lambda sockets, name, _, sent: sent.append(sockets[name].fileno()),
    'accept': accept,
    'connect': connect,
    'fork': fork,
    'bind': lambda sockets, name, _f, _s, *address: sockets[name].bind(address),
    'listen': lambda sockets, name, *_: sockets[name].listen(),
    'set': lambda sockets, name, _f, _s, value: sockets[name].setsockopt(*REUSE, value),
    'get': lambda sockets, name, *_: sockets[name].getsockopt(*REUSE),
    'send': send,
    'receive': lambda sockets, name, *_: len(sockets[name].recv(100)),
    'shutdown': shutdown,
    'close': close,
}
OFTEN = ['socket', 'bind', 'bind', 'bind', 'listen', 'listen', 'connect', 'accept', 'close', 'close',
         'set', 'get', 'get', 'pass', 'send', 'receive', 'shutdown', 'fork']


def sequence(random, port):
    workers = []
    for _ in range(3):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            for channel in [*workers, ours]:
                channel.close()
            work(theirs)
        theirs.close()
        workers.append(ours)

    def ask(worker, *call, fds=()):
        socket.send_fds(workers[worker], [pickle.dumps(call)], list(fds))
        data, got, _, _ = socket.recv_fds(workers[worker], 65536, 1)
        return pickle.loads(data), got

    # Each begins with a socket, and one process has served a client and closed first, as a run
    # before this one did.
    script = [(worker, 'socket', 'a') for worker in range(3)]
    script += [(0, 'bind', 'a', '127.0.0.1', port), (0, 'listen', 'a'), (1, 'connect', 'a', port),
               (0, 'accept', 'a', 'b'), (0, 'close', 'b'), (1, 'close', 'a'), (0, 'close', 'a')]
    for _ in range(30):
        worker, call, name = random.randrange(3), random.choice(OFTEN), random.choice(NAMES[:3])
        other, new = random.randrange(3), random.choice(NAMES)
        host = random.choice(['127.0.0.1', '127.0.0.1', '127.0.0.2', '0.0.0.0'])
        value = random.randrange(2)
        more = {'bind': (host, port), 'connect': (port,), 'accept': (new,), 'set': (value,)}
        script.append((worker, call, name, *more.get(call, ())))
        if call == 'pass':
            script.append((other, 'take', new))
    fds = []
    for worker, *call in script:
        if call[0] == 'take' and not fds:
            result = 'none'
        else:
            result, got = ask(worker, *call, fds=fds if call[0] == 'take' else ())
            for each in fds:
                os.close(each)
            fds = got
        print(worker, *call, '=', result)
    for each in fds:
        os.close(each)
    for channel in workers:
        channel.close()
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break


def main():
    import random
    first, number = map(int, sys.argv[1:])
    for seed in range(first, first + number):
        print('#', seed)
        sequence(random.Random(seed), 10000 + seed % 20000)


main()
