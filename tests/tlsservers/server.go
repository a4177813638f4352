// A server of crypto/tls: server PORT CERTIFICATE KEY [LOG [VERSION [CLIENTS]]]. Without a log it says hello; with one it
// writes down what it was asked and answers as tests/tlsservers/recording.py does. VERSION is 1.2 or 1.3; CLIENTS is whose
// certificates its clients need.
package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

func main() {
	port, certificate, key := os.Args[1], os.Args[2], os.Args[3]
	answer := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }
	config := &tls.Config{}
	if len(os.Args) > 4 {
		log, err := os.OpenFile(os.Args[4], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			panic(err)
		}
		var lock sync.Mutex
		answer = func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			line := fmt.Sprintf("%s %s %d %x\n", r.Method, r.RequestURI, len(body), sha256.Sum256(body))
			lock.Lock()
			io.WriteString(log, line)
			lock.Unlock()
			said := append([]byte(line), bytes.Repeat([]byte("x"), len(body)%40000)...)
			w.Header().Set("Content-Length", fmt.Sprint(len(said)))
			w.Header().Set("Content-Type", "text/plain")
			w.Write(said)
		}
	}
	if len(os.Args) > 5 {
		config.MinVersion, config.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
		if os.Args[5] == "1.2" {
			config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		}
	}
	if len(os.Args) > 6 {
		pem, err := os.ReadFile(os.Args[6])
		if err != nil {
			panic(err)
		}
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		config.ClientCAs.AppendCertsFromPEM(pem)
	}
	server := &http.Server{Addr: "127.0.0.1:" + port, Handler: http.HandlerFunc(answer), TLSConfig: config}
	panic(server.ListenAndServeTLS(certificate, key))
}
