// A small web server that is told its port and its colour.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	port := flag.Int("port", 0, "port to listen on (required)")
	color := flag.String("color", "", "blue or green")
	flag.Parse()
	if *port == 0 {
		log.Fatal("--port is required")
	}
	server := &http.Server{
		Addr:              fmt.Sprintf("127.0.0.1:%d", *port),
		Handler:           routes(*color, os.Getenv("ALCEDO_RELEASE")),
		ReadHeaderTimeout: 10 * time.Second,
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
		<-stop
		limit, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		if err := server.Shutdown(limit); err != nil {
			log.Printf("shutdown: %v", err)
		}
	}()
	log.Printf("%s listens on %s", *color, server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	<-ended
}

func routes(color, release string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"status": "ok", "release": release})
	})
	mux.HandleFunc("/status", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"status": "ok", "color": color, "release": release})
	})
	mux.HandleFunc("/orders", func(w http.ResponseWriter, r *http.Request) {
		size, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 10<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(w, map[string]any{"accepted_bytes": size, "release": release})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"message": "hello", "release": release})
	})
	return mux
}

func answer(w http.ResponseWriter, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Printf("answer: %v", err)
	}
}
