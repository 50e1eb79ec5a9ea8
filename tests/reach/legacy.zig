//! legacy.c once more, by Zig without any libc: takes port 49200, or else the next one that is free, says which, and closes
//! each connection first.
const std = @import("std");

pub fn main() !void {
    var port: u16 = 49200;
    var server = while (true) : (port += 1) {
        const address = std.net.Address.initIp4(.{ 127, 0, 0, 1 }, port);
        break address.listen(.{}) catch |failed| switch (failed) {
            error.AddressInUse => continue,
            else => return failed,
        };
    };
    try std.io.getStdOut().writer().print("port {d}\n", .{port});
    while (true) {
        const client = try server.accept();
        try client.stream.writeAll("hello\n");
        client.stream.close();
    }
}
