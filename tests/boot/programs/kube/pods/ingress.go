package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

// What is read of the API's objects.
type (
	list[T any] struct {
		Items []T `json:"items"`
	}
	metadata struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		Annotations map[string]string `json:"annotations"`
	}
	class struct {
		Metadata metadata `json:"metadata"`
		Spec     struct {
			Controller string `json:"controller"`
		} `json:"spec"`
	}
	secret struct {
		Metadata metadata          `json:"metadata"`
		Data     map[string][]byte `json:"data"`
	}
	service struct {
		Metadata metadata `json:"metadata"`
		Spec     struct {
			ClusterIP string `json:"clusterIP"`
			Ports     []struct {
				Name string `json:"name"`
				Port int    `json:"port"`
			} `json:"ports"`
		} `json:"spec"`
	}
	backend struct {
		Service struct {
			Name string `json:"name"`
			Port struct {
				Name   string `json:"name"`
				Number int    `json:"number"`
			} `json:"port"`
		} `json:"service"`
	}
	rules struct {
		Metadata metadata `json:"metadata"`
		Spec     struct {
			Class *string `json:"ingressClassName"`
			TLS   []struct {
				Hosts  []string `json:"hosts"`
				Secret string   `json:"secretName"`
			} `json:"tls"`
			Rules []struct {
				Host string `json:"host"`
				HTTP struct {
					Paths []struct {
						Path    string  `json:"path"`
						Backend backend `json:"backend"`
					} `json:"paths"`
				} `json:"http"`
			} `json:"rules"`
		} `json:"spec"`
	}
)

// What the objects of one moment come to.
type table struct {
	routes       []route
	certificates map[string]*tls.Certificate // by host
	fallback     *tls.Certificate
}

type route struct{ host, path, target string }

// ingress stands in for an ingress controller: it honours the rules and certificates of the Ingresses whose class names
// its controller, or that have no class while its own is the default one.
func ingress(words []string) {
	flags := flag.NewFlagSet("ingress", flag.ExitOnError)
	controller := flags.String("controller", "", "name that IngressClasses call it by")
	fallback := flags.String("default-certificate", "", "NAMESPACE/NAME of the Secret for hosts without one of their own")
	plain := flags.String("http", ":8000", "address")
	secure := flags.String("https", ":8443", "address")
	_ = flags.Parse(words)
	var now atomic.Pointer[table]
	now.Store(&table{})
	go func() {
		for api := newAPI(); ; time.Sleep(time.Second) {
			if next, err := api.table(*controller, *fallback); err != nil {
				fmt.Fprintln(os.Stderr, "ingress:", err)
			} else {
				now.Store(next)
			}
		}
	}()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { now.Load().serve(w, r) })
	go func() { fatal(http.ListenAndServe(*plain, handler)) }()
	listener, err := tls.Listen("tcp", *secure, &tls.Config{
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return now.Load().certificate(hello.ServerName)
		}})
	if err != nil {
		fatal(err)
	}
	fatal(http.Serve(listener, handler))
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "ingress:", err)
	os.Exit(1)
}

func (t *table) serve(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	best := route{}
	for _, route := range t.routes {
		if matches(route.host, host) && strings.HasPrefix(r.URL.Path, route.path) && (best.target == "" || len(route.path) > len(best.path)) {
			best = route
		}
	}
	if best.target == "" {
		http.NotFound(w, r)
		return
	}
	proxy := httputil.ReverseProxy{Rewrite: func(request *httputil.ProxyRequest) {
		request.SetURL(&url.URL{Scheme: "http", Host: best.target})
		request.SetXForwarded()
		request.Out.Host = request.In.Host
	}}
	proxy.ServeHTTP(w, r)
}

func (t *table) certificate(name string) (*tls.Certificate, error) {
	for host, certificate := range t.certificates {
		if matches(host, name) {
			return certificate, nil
		}
	}
	if t.fallback == nil {
		return nil, fmt.Errorf("no certificate for %q", name)
	}
	return t.fallback, nil
}

// matches: a wildcard stands for one label.
func matches(pattern, host string) bool {
	if rest, wild := strings.CutPrefix(pattern, "*."); wild {
		_, parent, _ := strings.Cut(host, ".")
		return parent == rest
	}
	return pattern == "" || pattern == host
}

// ------------------------------------------------------------------ the API

type api struct {
	client http.Client
	base   string
}

func newAPI() *api {
	pool := x509.NewCertPool()
	authority, _ := os.ReadFile(account + "ca.crt")
	pool.AppendCertsFromPEM(authority)
	return &api{
		client: http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
		base:   "https://" + net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")),
	}
}

func get[T any](a *api, path string) ([]T, error) {
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, a.base+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	response, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, response.Status)
	}
	var answer list[T]
	return answer.Items, json.NewDecoder(response.Body).Decode(&answer)
}

func (a *api) table(controller, fallback string) (*table, error) {
	classes, err := get[class](a, "/apis/networking.k8s.io/v1/ingressclasses")
	if err != nil {
		return nil, err
	}
	ours := map[string]bool{}
	for _, class := range classes {
		if class.Spec.Controller == controller {
			ours[class.Metadata.Name] = true
			ours[""] = ours[""] || class.Metadata.Annotations["ingressclass.kubernetes.io/is-default-class"] == "true"
		}
	}
	services, err := get[service](a, "/api/v1/services")
	if err != nil {
		return nil, err
	}
	secrets, err := get[secret](a, "/api/v1/secrets")
	if err != nil {
		return nil, err
	}
	all, err := get[rules](a, "/apis/networking.k8s.io/v1/ingresses")
	if err != nil {
		return nil, err
	}
	result := &table{certificates: map[string]*tls.Certificate{}}
	space, name, _ := strings.Cut(fallback, "/")
	result.fallback = pair(secrets, space, name)
	for _, one := range all {
		wanted := ""
		if one.Spec.Class != nil {
			wanted = *one.Spec.Class
		}
		if !ours[wanted] {
			continue
		}
		for _, rule := range one.Spec.Rules {
			for _, path := range rule.HTTP.Paths {
				if target := address(services, one.Metadata.Namespace, path.Backend); target != "" {
					result.routes = append(result.routes, route{rule.Host, path.Path, target})
				}
			}
		}
		for _, entry := range one.Spec.TLS {
			if found := pair(secrets, one.Metadata.Namespace, entry.Secret); found != nil {
				for _, host := range entry.Hosts {
					result.certificates[host] = found
				}
			}
		}
	}
	return result, nil
}

func pair(secrets []secret, space, name string) *tls.Certificate {
	for _, one := range secrets {
		if one.Metadata.Namespace == space && one.Metadata.Name == name {
			if found, err := tls.X509KeyPair(one.Data["tls.crt"], one.Data["tls.key"]); err == nil {
				return &found
			}
		}
	}
	return nil
}

func address(services []service, space string, wanted backend) string {
	for _, one := range services {
		if one.Metadata.Namespace != space || one.Metadata.Name != wanted.Service.Name {
			continue
		}
		for _, port := range one.Spec.Ports {
			if port.Port == wanted.Service.Port.Number || port.Name != "" && port.Name == wanted.Service.Port.Name {
				return net.JoinHostPort(one.Spec.ClusterIP, strconv.Itoa(port.Port))
			}
		}
	}
	return ""
}
