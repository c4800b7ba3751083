// Command kine is kine with its SQLite driver and k3s' settings for it; the other drivers would take minutes to build.
package main

import (
	"context"
	"flag"
	"math"
	"net"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	"github.com/k3s-io/kine/pkg/drivers/generic"
	"github.com/k3s-io/kine/pkg/drivers/sqlite"
	"github.com/k3s-io/kine/pkg/server"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

func main() {
	database := flag.String("database", "state.db", "file")
	address := flag.String("listen-address", "127.0.0.1:2379", "where etcd's clients find it")
	flag.Parse()
	ctx := context.Background()
	_, backend, err := sqlite.New(ctx, &sync.WaitGroup{}, &drivers.Config{
		DataSourceName:       *database + "?" + sqlite.DefaultParams,
		ConnectionPoolConfig: generic.ConnectionPoolConfig{MaxIdle: 20, MaxIdleTime: 2 * time.Minute},
		CompactTimeout:       5 * time.Second,
		CompactMinRetain:     1000,
		CompactBatchSize:     1000,
		PollBatchSize:        500,
	})
	if err != nil {
		logrus.Fatal(err)
	}
	if err := backend.Start(ctx); err != nil {
		logrus.Fatal(err)
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		logrus.Fatal(err)
	}
	etcd := grpc.NewServer(grpc.MaxRecvMsgSize(4<<20), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}))
	server.New(backend, "http", 5*time.Second, "3.6.11").Register(etcd)
	logrus.Fatal(etcd.Serve(listener))
}
