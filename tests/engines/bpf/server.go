// The same in Go, by system calls of its own that set no option.
package main

import (
	"fmt"
	"os"
	"syscall"
)

func main() {
	for port := 49200; port < 49210; port++ {
		listener, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		if err == nil {
			err = syscall.Bind(listener, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
		}
		if err == nil {
			err = syscall.Listen(listener, 128)
		}
		if err != nil {
			syscall.Close(listener)
			continue
		}
		fmt.Println(port)
		for err == nil {
			_, _, err = syscall.Accept(listener)
		}
		os.Exit(1)
	}
}
