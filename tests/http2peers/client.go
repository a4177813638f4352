// client URL COUNT CA KEYS: COUNT requests of net/http over TLS with HTTP/2, ten at a time; every third has content. Its
// secrets go to KEYS. Fails unless all are answered with 200 in HTTP/2.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
)

func main() {
	count, err := strconv.Atoi(os.Args[2])
	must(err)
	authority, err := os.ReadFile(os.Args[3])
	must(err)
	keys, err := os.OpenFile(os.Args[4], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	client := &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, KeyLogWriter: keys},
	}}
	ask(client, 0)
	numbers := make(chan int)
	var all sync.WaitGroup
	for at := 0; at < 10; at++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for number := range numbers {
				ask(client, number)
			}
		}()
	}
	for number := 1; number < count; number++ {
		numbers <- number
	}
	close(numbers)
	all.Wait()
}

func ask(client *http.Client, number int) {
	method, body := "GET", []byte(nil)
	if number%3 == 0 {
		method, body = "POST", bytes.Repeat([]byte{byte(number)}, number*997%70000+1)
	}
	request, err := http.NewRequest(method, fmt.Sprintf("%s/item/%d", os.Args[1], number), bytes.NewReader(body))
	must(err)
	request.Header.Set("X-Request-Id", fmt.Sprintf("id-%d", number))
	answer, err := client.Do(request)
	must(err)
	_, err = io.Copy(io.Discard, answer.Body)
	must(err)
	must(answer.Body.Close())
	if answer.StatusCode != 200 || answer.ProtoMajor != 2 {
		must(fmt.Errorf("%s in %s", answer.Status, answer.Proto))
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
