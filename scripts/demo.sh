#!/bin/bash
# The demo: a throwaway MariaDB with a few busy clients, its processlist from the kernel, one statement and
# one connection killed, and what the victims got. Everything is in one temporary directory and gone at
# the end, also on ^C; other database servers of this host are left alone.
#
# BUILD: where dbpsd and dbps were built.
set -euo pipefail
cd "$(dirname "$0")/.."

BUILD=$(realpath "${BUILD:-build}")
PATH=$BUILD:/usr/sbin:/usr/bin:/sbin:/bin
WAIT_S=60

if [ "$(id -u)" != 0 ]; then
	echo "demo: BPF programs are loaded, which takes root" >&2
	exit 1
fi

dir=$(mktemp -d /tmp/dbps-demo.XXXXXX)
export DBPS_SOCKET=$dir/dbps.sock
pids=()

stop() {
	for pid in "$@"; do kill "$pid" 2>/dev/null || true; done
	for pid in "$@"; do wait "$pid" 2>/dev/null || true; done
}

clean_up() {
	local status=$?
	trap - EXIT INT TERM
	exec 7>&- 8>&-
	stop "${pids[@]:1}"
	stop "${pids[@]:0:1}"
	if [ $status -ge 128 ]; then
		echo "demo: stopped; everything is ended and removed" >&2
	elif [ $status -ne 0 ]; then
		echo "demo: failed (exit code $status); the last words of its parts:" >&2
		tail -n 5 "$dir"/*.log >&2 || true
	fi
	rm -rf "$dir"
	exit $status
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n%s\n' "$*"; }

# Shows a command, then what it prints. Kills end with an exit code that tells their outcome.
show() {
	printf '\n    $ %s\n' "$1"
	eval "$1" 2>&1 | sed 's/^/    /'
	return "${PIPESTATUS[0]}"
}

wait_for() {
	local what=$1 end=$((SECONDS + WAIT_S))
	shift
	until "$@" >/dev/null 2>&1; do
		if [ $SECONDS -ge $end ]; then
			echo "demo: $what: not within $WAIT_S s" >&2
			exit 1
		fi
		sleep 0.1
	done
}

free_port() {
	local port
	while :; do
		port=$((20000 + RANDOM % 10000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	echo "$port"
}

start_server() {
	mariadb-install-db --no-defaults --user=root --datadir="$dir/data" --skip-test-db \
		--force \
		--auth-root-authentication-method=socket >"$dir/install.log" 2>&1
	mariadbd --no-defaults --user=root --datadir="$dir/data" --socket="$dir/server.sock" \
		--port="$port" --bind-address=127.0.0.1 --skip-name-resolve \
		--innodb-buffer-pool-size=32M >"$dir/server.log" 2>&1 &
	pids+=($!)
	wait_for "MariaDB" mariadb --no-defaults -S "$dir/server.sock" -u root -e 'select 1'
	mariadb --no-defaults -S "$dir/server.sock" -u root <<-SQL
		create database shop;
		create table shop.stock (id int primary key, n int) engine=innodb;
		insert into shop.stock values (1, 10);
		create user dbps_demo@localhost identified by 'demo';
		grant process, super, connection admin on *.* to dbps_demo@localhost;
		create user web@127.0.0.1, report@127.0.0.1, batch@localhost;
		grant all on shop.* to web@127.0.0.1, report@127.0.0.1, batch@localhost;
	SQL
}

# The control link's user is one that the throwaway server alone has: dbpsd cannot get into another.
start_dbpsd() {
	printf '[client]\nuser=dbps_demo\npassword=demo\n' >"$dir/link.cnf"
	chmod 600 "$dir/link.cnf"
	printf '[link]\nuser = dbps_demo\noption_file = %s\n' "$dir/link.cnf" >"$dir/dbps.conf"
	dbpsd --config "$dir/dbps.conf" --socket "$DBPS_SOCKET" --pin none >"$dir/dbpsd.log" 2>&1 &
	pids+=($!)
	wait_for "dbpsd" dbps sql 'select 1'
	wait_for "control link" link_is_up
}

link_is_up() {
	dbps servers --csv | grep -q "^$server,.*,up,"
}

# A client that reads its statements from descriptor $3 and writes what it gets to $dir/$1.
start_client() {
	local name=$1 fd=$2
	shift 2
	mkfifo "$dir/$name.in"
	mariadb --no-defaults --unbuffered --skip-reconnect --force -v -v -u "$name" "$@" shop \
		<"$dir/$name.in" >"$dir/$name" 2>&1 &
	pids+=($!)
	eval "exec $fd>\"$dir/$name.in\""
}

id_of() {
	dbps ps --server "$server" --csv | awk -F, -v user="$1" '$2 == user { print $1; exit }'
}

runs() {
	dbps ps --server "$server" --csv | grep -q "$1"
}

port=$(free_port)
server=mariadb-$port

say "A MariaDB on port $port, with three clients:"
start_server
echo "  report   runs a query that will take hours"
echo "  batch    changed a row, did not commit, and went to sleep"
echo "  web      waits for that row"
start_client report 7 -h 127.0.0.1 -P "$port"
start_client batch 8 -S "$dir/server.sock"
start_dbpsd
echo "begin; update stock set n = n - 1 where id = 1;" >&8
echo "select count(*) from seq_1_to_1000000 a, seq_1_to_1000000 b where a.seq % 7 = b.seq % 5; select 'still here';" >&7
wait_for "the report" runs seq_1_to
wait_for "the batch" runs ',batch,.*,Sleep,'
mariadb --no-defaults -v -v -u web -h 127.0.0.1 -P "$port" shop \
	-e "update stock set n = n - 2 where id = 1" >"$dir/web" 2>&1 &
web=$!
wait_for "the web client" runs "n - 2"
sleep 1

say "dbpsd has not asked the server for this list: it comes from the kernel. Any MySQL client shows it:"
show "mariadb -S \$DBPS_SOCKET $server -t -e 'show processlist'"
say "and so does dbps (dbps_demo is dbpsd's own control link: it is for kills, not for looking):"
show "dbps ps --server $server"

report=$(id_of report)
batch=$(id_of batch)
say "End the report's statement, and leave its session alone:"
show "dbps kill --server $server query $report"
say "What the report got: an error for that statement, and its next one runs."
wait_for "the report's answer" grep -q 'still here' "$dir/report"
grep -E '^ERROR|^still here' "$dir/report" | sed 's/^/    /' | head -n 2

say "Close the session of the batch, which sleeps on the row:"
show "dbps kill --server $server $batch"
say "What web got: the row."
wait "$web" || true
grep -E '^(Query|ERROR)' "$dir/web" | sed 's/^/    /'
say "What the batch gets when it wakes up:"
echo "commit;" >&8 || true
wait_for "the batch's answer" grep -q ERROR "$dir/batch"
grep -E '^ERROR' "$dir/batch" | sed 's/^/    /'

say "The list now:"
show "dbps ps --server $server"
say "Cleaning up. On your own host: start dbpsd (make install; systemctl start dbpsd), then dbps ps."
