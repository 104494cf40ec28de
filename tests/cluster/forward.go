package main

import (
	"io"
	"log"
	"net"
	"os"
)

// forward passes on what arrives at its first argument, HOST:PORT, to its second. It stands in for kube-proxy, of which a cluster of
// one node with one Service needs no more.
func forward() {
	if len(os.Args) != 3 {
		log.Fatal("usage: forward FROM TO")
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go pass(client, os.Args[2])
	}
}

// pass ends a connection as a whole when either side ends it, as an API server that is gone would.
func pass(client net.Conn, to string) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	ended := make(chan struct{}, 2)
	copyAll := func(to, from net.Conn) {
		io.Copy(to, from)
		ended <- struct{}{}
	}
	go copyAll(server, client)
	go copyAll(client, server)
	<-ended
}
