// Starts another program, and kills it when it is told to.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
)

func main() {
	command := exec.Command(os.Args[1], os.Args[2:]...)
	command.Stdout = os.Stdout
	if err := command.Start(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	bufio.NewReader(os.Stdin).ReadString('\n')
	command.Process.Kill()
	command.Wait()
	fmt.Println("ended")
}
