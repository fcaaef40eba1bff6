/*
 * Numbers of the MySQL protocol that the console speaks: commands, capabilities, status bits,
 * column types and error codes. All integers on the wire are little-endian (protocol.md 1).
 */
#ifndef DBPS_WIRE_PROTOCOL_H
#define DBPS_WIRE_PROTOCOL_H

/* Packet: u24 payload length, u8 sequence id, payload; one of this length goes on in the next. */
#define WIRE_HEADER_LEN	  4
#define WIRE_PACKET_MAX	  0xffffffu
#define WIRE_PROTOCOL	  10
#define WIRE_SCRAMBLE_LEN 20
#define WIRE_AUTH_NATIVE  "mysql_native_password"
#define WIRE_AUTH_SHA2	  "caching_sha2_password"
#define WIRE_UTF8MB4	  45 /* utf8mb4_general_ci */
#define WIRE_BINARY	  63
#define WIRE_SQLSTATE_LEN 5

enum wire_command {
	WIRE_COM_QUIT = 0x01,
	WIRE_COM_INIT_DB = 0x02,
	WIRE_COM_QUERY = 0x03,
	WIRE_COM_FIELD_LIST = 0x04,
	WIRE_COM_STATISTICS = 0x09,
	WIRE_COM_PROCESS_INFO = 0x0a,
	WIRE_COM_PROCESS_KILL = 0x0c,
	WIRE_COM_PING = 0x0e,
	WIRE_COM_CHANGE_USER = 0x11,
	WIRE_COM_STMT_PREPARE = 0x16,
	WIRE_COM_STMT_EXECUTE = 0x17,
	WIRE_COM_STMT_SEND_LONG_DATA = 0x18,
	WIRE_COM_STMT_CLOSE = 0x19,
	WIRE_COM_STMT_RESET = 0x1a,
	WIRE_COM_SET_OPTION = 0x1b,
	WIRE_COM_STMT_FETCH = 0x1c,
	WIRE_COM_RESET_CONNECTION = 0x1f,
};

enum wire_capability {
	WIRE_CAP_LONG_PASSWORD = 1 << 0,
	WIRE_CAP_FOUND_ROWS = 1 << 1,
	WIRE_CAP_LONG_FLAG = 1 << 2,
	WIRE_CAP_CONNECT_WITH_DB = 1 << 3,
	WIRE_CAP_IGNORE_SPACE = 1 << 8,
	WIRE_CAP_PROTOCOL_41 = 1 << 9,
	WIRE_CAP_INTERACTIVE = 1 << 10,
	WIRE_CAP_TRANSACTIONS = 1 << 13,
	WIRE_CAP_SECURE_CONNECTION = 1 << 15,
	WIRE_CAP_MULTI_STATEMENTS = 1 << 16,
	WIRE_CAP_MULTI_RESULTS = 1 << 17,
	WIRE_CAP_PLUGIN_AUTH = 1 << 19,
	WIRE_CAP_CONNECT_ATTRS = 1 << 20,
	WIRE_CAP_PLUGIN_AUTH_LENENC = 1 << 21,
	WIRE_CAP_SESSION_TRACK = 1 << 23,
};

/*
 * What the console offers. Left out on purpose: SSL and COMPRESS (a local socket), DEPRECATE_EOF
 * (two forms of each answer for no gain), LOCAL_FILES, query attributes. Connection attributes are
 * offered as some clients insist on sending them; they are not looked at. Nothing is tracked, but
 * with SESSION_TRACK more drivers read the length before the info of an OK; without it mysql2 for
 * Node, as with every server, takes it for a letter.
 */
#define WIRE_CAPS_OFFERED                                                                          \
	(WIRE_CAP_LONG_PASSWORD | WIRE_CAP_FOUND_ROWS | WIRE_CAP_LONG_FLAG |                       \
	 WIRE_CAP_CONNECT_WITH_DB | WIRE_CAP_IGNORE_SPACE | WIRE_CAP_PROTOCOL_41 |                 \
	 WIRE_CAP_INTERACTIVE | WIRE_CAP_TRANSACTIONS | WIRE_CAP_SECURE_CONNECTION |               \
	 WIRE_CAP_MULTI_STATEMENTS | WIRE_CAP_MULTI_RESULTS | WIRE_CAP_PLUGIN_AUTH |               \
	 WIRE_CAP_CONNECT_ATTRS | WIRE_CAP_PLUGIN_AUTH_LENENC | WIRE_CAP_SESSION_TRACK)

enum wire_status { WIRE_STATUS_AUTOCOMMIT = 0x0002 };

enum wire_type {
	WIRE_TYPE_DOUBLE = 0x05,
	WIRE_TYPE_NULL = 0x06,
	WIRE_TYPE_LONGLONG = 0x08, /* unsigned, as all numbers of sessions are */
	WIRE_TYPE_VAR_STRING = 0xfd,
	WIRE_TYPE_SIGNED = 0x100 | WIRE_TYPE_LONGLONG, /* the low byte is what goes out */
};

enum wire_column_flag {
	WIRE_COLUMN_UNSIGNED = 1 << 5,
	WIRE_COLUMN_BINARY = 1 << 7,
};

/* Error codes, named as the servers name them (their SQLSTATEs: wire_sqlstate()). */
enum wire_error_code {
	ER_CON_COUNT_ERROR = 1040,
	ER_HANDSHAKE_ERROR = 1043,
	ER_DBACCESS_DENIED_ERROR = 1044,
	ER_UNKNOWN_COM_ERROR = 1047,
	ER_BAD_DB_ERROR = 1049,
	ER_NON_UNIQ_ERROR = 1052,
	ER_BAD_FIELD_ERROR = 1054,
	ER_SYNTAX_ERROR = 1064,
	ER_EMPTY_QUERY = 1065,
	ER_NO_SUCH_THREAD = 1094,
	ER_KILL_DENIED_ERROR = 1095,
	ER_UNKNOWN_ERROR = 1105,
	ER_NO_SUCH_TABLE = 1146,
	ER_NET_PACKET_TOO_LARGE = 1153,
	ER_NET_PACKETS_OUT_OF_ORDER = 1156,
	ER_NET_READ_ERROR = 1158,
	ER_NET_READ_INTERRUPTED = 1159,
	ER_UNKNOWN_SYSTEM_VARIABLE = 1193,
	ER_SPECIFIC_ACCESS_DENIED_ERROR = 1227,
	ER_UNKNOWN_STMT_HANDLER = 1243,
	ER_OPTION_PREVENTS_STATEMENT = 1290,
	ER_UNSUPPORTED_PS = 1295,
	ER_SP_DOES_NOT_EXIST = 1305,
	ER_QUERY_INTERRUPTED = 1317,
	ER_DATA_TOO_LONG = 1406,
	ER_MALFORMED_PACKET = 1835,
	ER_NO_SUCH_QUERY = 1957, /* MariaDB's alone, as the next */
	ER_KILL_QUERY_DENIED_ERROR = 1979,
	ER_QUERY_TIMEOUT = 3024,
	ER_CAPACITY_EXCEEDED = 3170,
};

/** @return The SQLSTATE of an error code, "HY000" when it has none of its own. Static. */
const char *wire_sqlstate(unsigned int code);

#endif
