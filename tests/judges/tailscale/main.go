// Tailscale's own code as a judge of our values: what `tailscale up` asks of its flags
// (prefsFromUpArgs). Reads lines `kind<TAB>value`; answers each with `ok` or `error: …`.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"tailscale.com/net/netutil"
	"tailscale.com/tailcfg"
	"tailscale.com/util/dnsname"
)

func judge(kind, value string) error {
	switch kind {
	case "tags":
		return tailcfg.CheckTag(value)
	case "routes": // separated by commas, as the role joins them
		_, err := netutil.CalcAdvertiseRoutes(value, false)
		return err
	case "hostname":
		return dnsname.ValidHostname(value)
	}
	panic("no judge of " + kind)
}

func main() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		kind, value, _ := strings.Cut(lines.Text(), "\t")
		answer := "ok"
		if err := judge(kind, value); err != nil {
			answer = "error: " + err.Error()
		}
		fmt.Println(answer)
	}
}
