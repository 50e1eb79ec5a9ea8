// A server that nobody can change, by system calls of its own that set no option.
package main

import (
	"fmt"
	"os"
	"syscall"
)

func main() {
	listener, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		err = syscall.Bind(listener, &syscall.SockaddrInet4{Port: 5000, Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = syscall.Listen(listener, 128)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening")
	for {
		if _, _, err := syscall.Accept(listener); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}
