// A server by Go's net package, which sets SO_REUSEADDR on its listener.
package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	listener, err := net.Listen("tcp4", "127.0.0.1:5000")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening")
	for {
		if _, err := listener.Accept(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}
