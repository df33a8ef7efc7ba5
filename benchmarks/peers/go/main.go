// The same API in Go: net/http, pgx and golang-jwt, written as in their documentation.
package main

import (
	"context"
	"encoding/json"
	"errors"
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

func (n *newTask) isValid() bool {
	n.Title = strings.TrimSpace(n.Title)
	length := utf8.RuneCountInString(n.Title)
	return length >= 1 && length <= 200 &&
		(n.Description == nil || utf8.RuneCountInString(*n.Description) <= 1000) &&
		(n.Priority == nil || *n.Priority == "low" || *n.Priority == "medium" || *n.Priority == "high")
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

func (s *server) list(w http.ResponseWriter, r *http.Request, user string) error {
	rows, err := s.pool.Query(r.Context(),
		"SELECT "+columns+" FROM peer_tasks WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1000", user)
	if err != nil {
		return err
	}
	defer rows.Close()
	tasks := []task{}
	for rows.Next() {
		t, err := scan(rows)
		if err != nil {
			return err
		}
		tasks = append(tasks, t)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return send(w, http.StatusOK, tasks)
}

func (s *server) get(w http.ResponseWriter, r *http.Request, user string) error {
	var id pgtype.UUID
	if err := id.Set(strings.TrimPrefix(r.URL.Path, "/api/tasks/")); err != nil {
		return pgx.ErrNoRows
	}
	t, err := scan(s.pool.QueryRow(r.Context(),
		"SELECT "+columns+" FROM peer_tasks WHERE id = $1 AND user_id = $2", id, user))
	if err != nil {
		return err
	}
	return send(w, http.StatusOK, t)
}

func (s *server) create(w http.ResponseWriter, r *http.Request, user string) error {
	var n newTask
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16*1024))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&n); err != nil || !n.isValid() {
		http.Error(w, "invalid task", http.StatusBadRequest)
		return nil
	}
	t, err := scan(s.pool.QueryRow(r.Context(),
		"INSERT INTO peer_tasks (user_id, title, description, priority, due_date) VALUES ($1, $2, $3, $4, $5) RETURNING "+
			columns, user, n.Title, n.Description, n.Priority, n.DueDate))
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/api/tasks/"+t.ID)
	return send(w, http.StatusCreated, t)
}

func scan(row pgx.Row) (t task, err error) {
	err = row.Scan(&t.ID, &t.UserID, &t.Title, &t.Description, &t.Completed, &t.Priority, &t.DueDate,
		&t.CreatedAt, &t.UpdatedAt, &t.Revision)
	return t, err
}

func send(w http.ResponseWriter, status int, body interface{}) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(body)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, err := s.user(r)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	case r.Method == http.MethodGet && r.URL.Path == "/api/tasks":
		err = s.list(w, r, user)
	case r.Method == http.MethodPost && r.URL.Path == "/api/tasks":
		err = s.create(w, r, user)
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/api/tasks/"):
		err = s.get(w, r, user)
	default:
		err = pgx.ErrNoRows
	}
	if errors.Is(err, pgx.ErrNoRows) {
		http.NotFound(w, r)
	} else if err != nil {
		log.Print(err)
		http.Error(w, "internal server error", http.StatusInternalServerError)
	}
}

func main() {
	url := os.Getenv("DATABASE_URL") + "?pool_max_conns=" + os.Getenv("DATABASE_POOL_SIZE")
	pool, err := pgxpool.Connect(context.Background(), url)
	if err != nil {
		log.Fatal(err)
	}
	s := &server{pool, []byte(os.Getenv("JWT_SECRET")), jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}))}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), s))
}
