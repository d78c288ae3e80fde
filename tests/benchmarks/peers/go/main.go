// Go's net/http with pgx: prepared statements, encoding/json, one log line per request.
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
)

const (
	userColumns = "id, email, full_name, is_active, created_at, updated_at, version"
	postColumns = "id, author_id, title, content, status, published_at, created_at, updated_at, version"
	getUser     = "SELECT " + userColumns + " FROM users WHERE id = $1"
	updateUser  = `UPDATE users SET full_name = $3, updated_at = now(), version = version + 1
		WHERE id = $1 AND version = $2 RETURNING ` + userColumns
	listPosts   = "SELECT " + postColumns + " FROM posts WHERE author_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
	searchPosts = "SELECT " + postColumns + ` FROM posts, plainto_tsquery('simple', $1) query
		WHERE text_tokens @@ query
		ORDER BY title_tokens @@ query DESC, id DESC LIMIT $2`
	getAuthor = "SELECT is_active FROM users WHERE id = $1 FOR SHARE"
	addPost   = `INSERT INTO posts (id, author_id, title, content, status, created_at, updated_at, version, title_tokens, text_tokens)
		VALUES ($1, $2, $3, $4, 'draft', $5, $5, 1, to_tsvector('simple', $3), to_tsvector('simple', $3 || ' ' || $4))
		RETURNING ` + postColumns
	addRecord       = "INSERT INTO baseline_records (key, response) VALUES ($1, $2)"
	getRecord       = "SELECT response FROM baseline_records WHERE key = $1"
	lastID          = "ffffffff-ffff-ffff-ffff-ffffffffffff"
	uniqueViolation = "23505"
)

type User struct {
	ID        string    `json:"id"`
	Email     string    `json:"email"`
	FullName  *string   `json:"full_name"`
	IsActive  bool      `json:"is_active"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int64     `json:"version"`
}

type Post struct {
	ID          string     `json:"id"`
	AuthorID    string     `json:"author_id"`
	Title       string     `json:"title"`
	Content     string     `json:"content"`
	Status      string     `json:"status"`
	PublishedAt *time.Time `json:"published_at"`
	CreatedAt   time.Time  `json:"created_at"`
	UpdatedAt   time.Time  `json:"updated_at"`
	Version     int64      `json:"version"`
}

type Page struct {
	Items      []Post  `json:"items"`
	NextCursor *string `json:"next_cursor"`
}

type statusError struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
}

func (e statusError) Error() string { return e.Title }

func failed(status int) error { return statusError{status, http.StatusText(status)} }

func scanUser(row pgx.Row) (User, error) {
	var u User
	err := row.Scan(&u.ID, &u.Email, &u.FullName, &u.IsActive, &u.CreatedAt, &u.UpdatedAt, &u.Version)
	if errors.Is(err, pgx.ErrNoRows) {
		err = failed(http.StatusNotFound)
	}
	return u, err
}

func scanPost(row pgx.Row) (Post, error) {
	var p Post
	err := row.Scan(
		&p.ID, &p.AuthorID, &p.Title, &p.Content, &p.Status, &p.PublishedAt, &p.CreatedAt, &p.UpdatedAt, &p.Version,
	)
	return p, err
}

type service struct{ pool *pgxpool.Pool }

func (s service) users(r *http.Request) (int, any, error) {
	id := strings.TrimPrefix(r.URL.Path, "/api/v1/users/")
	if r.Method == http.MethodPatch {
		return s.updateUser(r, id)
	}
	user, err := scanUser(s.pool.QueryRow(r.Context(), getUser, id))
	return http.StatusOK, user, err
}

func (s service) updateUser(r *http.Request, id string) (int, any, error) {
	var changes struct {
		FullName string `json:"full_name"`
	}
	version, err := strconv.ParseInt(strings.Trim(r.Header.Get("If-Match"), `"`), 10, 64)
	if err != nil || json.NewDecoder(r.Body).Decode(&changes) != nil || !fits(changes.FullName, 200) {
		return 0, nil, failed(http.StatusUnprocessableEntity)
	}
	user, err := scanUser(s.pool.QueryRow(r.Context(), updateUser, id, version, changes.FullName))
	var missing statusError
	if errors.As(err, &missing) {
		if _, err = scanUser(s.pool.QueryRow(r.Context(), getUser, id)); err == nil {
			err = failed(http.StatusPreconditionFailed)
		}
	}
	return http.StatusOK, user, err
}

func (s service) posts(r *http.Request) (int, any, error) {
	if r.Method == http.MethodPost {
		return s.createPost(r)
	}
	query := r.URL.Query()
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 1 || limit > 100 {
		return 0, nil, failed(http.StatusUnprocessableEntity)
	}
	statement, arguments := searchPosts, []any{query.Get("q"), limit + 1}
	if !query.Has("q") {
		cursor := lastID
		if query.Has("cursor") {
			cursor = query.Get("cursor")
		}
		statement, arguments = listPosts, []any{query.Get("author_id"), cursor, limit + 1}
	}
	rows, err := s.pool.Query(r.Context(), statement, arguments...)
	if err != nil {
		return 0, nil, err
	}
	defer rows.Close()
	page := Page{Items: make([]Post, 0, limit+1)}
	for rows.Next() {
		post, err := scanPost(rows)
		if err != nil {
			return 0, nil, err
		}
		page.Items = append(page.Items, post)
	}
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		page.NextCursor = &page.Items[limit-1].ID
	}
	return http.StatusOK, page, rows.Err()
}

func (s service) createPost(r *http.Request) (int, any, error) {
	var body struct {
		AuthorID string `json:"author_id"`
		Title    string `json:"title"`
		Content  string `json:"content"`
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil || !fits(body.Title, 200) || !fits(body.Content, 2000) {
		return 0, nil, failed(http.StatusUnprocessableEntity)
	}
	key := r.Header.Get("Idempotency-Key")
	var post Post
	err := s.pool.BeginFunc(r.Context(), func(tx pgx.Tx) error {
		var isActive bool
		err := tx.QueryRow(r.Context(), getAuthor, body.AuthorID).Scan(&isActive)
		if errors.Is(err, pgx.ErrNoRows) {
			return failed(http.StatusUnprocessableEntity)
		}
		if err == nil && !isActive {
			return failed(http.StatusConflict)
		}
		if err != nil {
			return err
		}
		row := tx.QueryRow(r.Context(), addPost, newID(), body.AuthorID, body.Title, body.Content, time.Now())
		if post, err = scanPost(row); err != nil || key == "" {
			return err
		}
		response, err := json.Marshal(post)
		if err == nil {
			_, err = tx.Exec(r.Context(), addRecord, key, response)
		}
		return err
	})
	var conflict *pgconn.PgError
	if errors.As(err, &conflict) && conflict.Code == uniqueViolation {
		var response []byte
		err = s.pool.QueryRow(r.Context(), getRecord, key).Scan(&response)
		return http.StatusCreated, json.RawMessage(response), err
	}
	return http.StatusCreated, post, err
}

func fits(text string, longest int) bool { return text != "" && len([]rune(text)) <= longest }

// newID returns a UUIDv7 (RFC 9562 section 5.7).
func newID() string {
	var id [16]byte
	if _, err := rand.Read(id[6:]); err != nil {
		panic(err)
	}
	milliseconds := time.Now().UnixMilli()
	binary.BigEndian.PutUint32(id[:], uint32(milliseconds>>16))
	binary.BigEndian.PutUint16(id[4:], uint16(milliseconds))
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

func respond(handle func(*http.Request) (int, any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		status, value, err := handle(r)
		var failure statusError
		if errors.As(err, &failure) {
			status, value = failure.Status, failure
		} else if err != nil {
			log.Print(err)
			status, value = http.StatusInternalServerError, statusError{500, "Internal Server Error"}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(value); err != nil {
			log.Print(err)
		}
		log.Printf("%s %s %d %s", r.Method, r.URL.Path, status, time.Since(started))
	}
}

func main() {
	time.Local = time.UTC
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_DSN"))
	if err != nil {
		log.Fatal(err)
	}
	size, err := strconv.Atoi(os.Getenv("POOL_SIZE"))
	if err != nil {
		log.Fatal(err)
	}
	config.MaxConns = int32(size)
	pool, err := pgxpool.ConnectConfig(context.Background(), config)
	if err != nil {
		log.Fatal(err)
	}
	s := service{pool}
	http.Handle("/livez", respond(func(*http.Request) (int, any, error) {
		return http.StatusOK, map[string]string{"status": "ok"}, nil
	}))
	http.Handle("/api/v1/users/", respond(s.users))
	http.Handle("/api/v1/posts", respond(s.posts))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
