// The same API in Go: net/http, pgx and golang-jwt, written as their documentation does.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt"
	"github.com/jackc/pgtype"
	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
)

const columns = "id, user_id, title, description, completed, priority, due_date, created_at, updated_at, revision"

type task struct {
	ID          string     `json:"id"`
	UserID      string     `json:"user_id"`
	Title       string     `json:"title"`
	Description *string    `json:"description"`
	Completed   bool       `json:"completed"`
	Priority    *string    `json:"priority"`
	DueDate     *time.Time `json:"due_date"`
	CreatedAt   time.Time  `json:"created_at"`
	UpdatedAt   time.Time  `json:"updated_at"`
	Revision    int64      `json:"revision"`
}

type newTask struct {
	Title       string     `json:"title"`
	Description *string    `json:"description"`
	Priority    *string    `json:"priority"`
	DueDate     *time.Time `json:"due_date"`
}

func (n *newTask) validate() error {
	n.Title = strings.TrimSpace(n.Title)
	if length := utf8.RuneCountInString(n.Title); length < 1 || length > 200 {
		return errors.New("title must be 1 to 200 characters long")
	}
	if n.Description != nil && utf8.RuneCountInString(*n.Description) > 1000 {
		return errors.New("description must be at most 1000 characters long")
	}
	if n.Priority != nil && *n.Priority != "low" && *n.Priority != "medium" && *n.Priority != "high" {
		return errors.New("priority must be low, medium or high")
	}
	return nil
}

func scan(row pgx.Row) (t task, err error) {
	err = row.Scan(&t.ID, &t.UserID, &t.Title, &t.Description, &t.Completed, &t.Priority, &t.DueDate,
		&t.CreatedAt, &t.UpdatedAt, &t.Revision)
	return t, err
}

type server struct {
	pool   *pgxpool.Pool
	secret []byte
	parser *jwt.Parser
}

func (s *server) user(r *http.Request) (string, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", errors.New("no bearer token")
	}
	var claims jwt.RegisteredClaims
	_, err := s.parser.ParseWithClaims(token, &claims, func(*jwt.Token) (interface{}, error) { return s.secret, nil })
	return claims.Subject, err
}

func (s *server) list(w http.ResponseWriter, r *http.Request, user string) {
	rows, err := s.pool.Query(r.Context(),
		"SELECT "+columns+" FROM peer_tasks WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1000", user)
	if err != nil {
		fail(w, err)
		return
	}
	defer rows.Close()
	tasks := []task{}
	for rows.Next() {
		t, err := scan(rows)
		if err != nil {
			fail(w, err)
			return
		}
		tasks = append(tasks, t)
	}
	if err := rows.Err(); err != nil {
		fail(w, err)
		return
	}
	send(w, http.StatusOK, tasks)
}

func (s *server) get(w http.ResponseWriter, r *http.Request, user string) {
	var id pgtype.UUID
	if err := id.Set(strings.TrimPrefix(r.URL.Path, "/api/tasks/")); err != nil {
		http.Error(w, "no such task", http.StatusNotFound)
		return
	}
	t, err := scan(s.pool.QueryRow(r.Context(),
		"SELECT "+columns+" FROM peer_tasks WHERE id = $1 AND user_id = $2", id, user))
	if errors.Is(err, pgx.ErrNoRows) {
		http.Error(w, "no such task", http.StatusNotFound)
		return
	}
	if err != nil {
		fail(w, err)
		return
	}
	send(w, http.StatusOK, t)
}

func (s *server) create(w http.ResponseWriter, r *http.Request, user string) {
	var n newTask
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16*1024))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&n)
	if err == nil {
		err = n.validate()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t, err := scan(s.pool.QueryRow(r.Context(),
		"INSERT INTO peer_tasks (user_id, title, description, priority, due_date) VALUES ($1, $2, $3, $4, $5) RETURNING "+
			columns, user, n.Title, n.Description, n.Priority, n.DueDate))
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Location", "/api/tasks/"+t.ID)
	send(w, http.StatusCreated, t)
}

func (s *server) authenticated(handle func(http.ResponseWriter, *http.Request, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, err := s.user(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		handle(w, r, user)
	}
}

func send(w http.ResponseWriter, status int, body interface{}) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Print(err)
	}
}

func fail(w http.ResponseWriter, err error) {
	log.Print(err)
	http.Error(w, "internal server error", http.StatusInternalServerError)
}

func main() {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := fmt.Sscan(os.Getenv("DATABASE_POOL_SIZE"), &config.MaxConns); err != nil {
		log.Fatal(err)
	}
	pool, err := pgxpool.ConnectConfig(context.Background(), config)
	if err != nil {
		log.Fatal(err)
	}
	s := &server{pool, []byte(os.Getenv("JWT_SECRET")), jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}))}
	list, create, get := s.authenticated(s.list), s.authenticated(s.create), s.authenticated(s.get)

	mux := http.NewServeMux()
	mux.HandleFunc("/api/tasks", func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
			list(w, r)
		case http.MethodPost:
			create(w, r)
		default:
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		}
	})
	mux.HandleFunc("/api/tasks/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		get(w, r)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux))
}
