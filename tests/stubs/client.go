// Command client uses the stubs as a Go program would: one command in a sandbox, and its end.
package main

import (
	"context"
	"fmt"
	"os"

	"google.golang.org/grpc"
	v1 "sandshell.dev/api/sandshell/v1"
)

func main() {
	connection, err := grpc.Dial("localhost:50051", grpc.WithInsecure())
	if err != nil {
		panic(err)
	}
	start := &v1.ExecStart{Target: &v1.ExecStart_SandboxId{SandboxId: "sbx-1"}, Command: "true"}
	response, err := v1.NewSessionServiceClient(connection).Run(context.Background(), &v1.RunRequest{Start: start})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s", response.Stdout)
	if response.Exited.Reason != v1.Exited_REASON_EXITED {
		os.Exit(1)
	}
	os.Exit(int(response.Exited.ExitCode))
}
