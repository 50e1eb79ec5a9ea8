// A server that makes so many system calls before it binds its port, and says when it listens: listener PORT CALLS
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
)

func main() {
	calls, _ := strconv.Atoi(os.Args[2])
	for i := 0; i < calls; i++ {
		syscall.Getppid()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening")
	for {
		client, err := listener.Accept()
		if err != nil {
			os.Exit(1)
		}
		client.Close()
	}
}
