// Command pods is what runs in the containers of the lab's cluster, where the real image cannot be had: one static
// program, told apart by the name it is called by.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "pause":
		pause()
	case "page":
		page(os.Args[1:])
	case "ingress":
		ingress(os.Args[1:])
	default:
		fmt.Fprintln(os.Stderr, name+": no such program in here")
		os.Exit(2)
	}
}

// pause holds a pod's namespaces.
func pause() {
	wait := make(chan os.Signal, 1)
	signal.Notify(wait, syscall.SIGTERM, syscall.SIGINT)
	<-wait
}

// page is a web page at the ports that PORTS names, or 80 and 8080, which tells who asked. `/volume` counts how often it
// was asked, in a file of the folder VOLUME.
func page([]string) {
	host, _ := os.Hostname()
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		peer, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "page of %s\npeer %s\nhost %s\nforwarded-for %s\nforwarded-proto %s\n", host, peer, r.Host,
			r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"))
	})
	ports := strings.Fields(os.Getenv("PORTS"))
	if len(ports) == 0 {
		ports = []string{"80", "8080"}
	}
	failed := make(chan error)
	for _, port := range ports {
		go func() { failed <- http.ListenAndServe(":"+port, nil) }()
	}
	for range ports {
		fmt.Fprintln(os.Stderr, "page:", <-failed)
	}
	os.Exit(1)
}
