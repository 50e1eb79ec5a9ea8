{ The same in Free Pascal, whose run-time library makes system calls of its own in a dynamic
  program, as one with threads is. }
program server;

uses cthreads, sockets;

var
  port: word;
  listener: longint;
  address: TInetSockAddr;

begin
  for port := 49200 to 49209 do
  begin
    listener := fpSocket(AF_INET, SOCK_STREAM, 0);
    FillChar(address, SizeOf(address), 0);
    address.sin_family := AF_INET;
    address.sin_port := htons(port);
    address.sin_addr := StrToNetAddr('127.0.0.1');
    if (fpBind(listener, @address, SizeOf(address)) = 0) and (fpListen(listener, 128) = 0) then
    begin
      WriteLn(port);
      Flush(Output);
      while fpAccept(listener, nil, nil) >= 0 do;
      Halt(1);
    end;
    CloseSocket(listener);
  end;
end.
