/*
 * The owner of a loopback client, from sock_diag.
 *
 * 1. The two ends of a connection over loopback are two sockets of one network namespace with
 *    mirrored addresses, and the kernel has one socket for each address pair and direction. So when
 *    the session's own socket, known by its cookie, is established, the established socket with the
 *    mirrored addresses is its client.
 * 2. The session's socket is asked for after the client's. A socket that is established was so
 * since it was accepted, thus also in the moment when the client was found: an address that was
 * freed and taken by somebody else in between cannot pass for the client.
 * 3. A session whose socket is not established any more (its client closed or reset it) has left
 *    its address to whoever takes it next; its owner is not known.
 */
#include "access/owner.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "kernel/sock_diag.h"
#include "server/process.h"

/* The netlink socket of the daemon's own network namespace is kept: a list asks many times. */
static struct {
	pthread_mutex_t lock;
	int fd; /* -1: not open */
} kept = {PTHREAD_MUTEX_INITIALIZER, -1};

static pthread_once_t own_once = PTHREAD_ONCE_INIT;
static uint32_t own_netns; /* 0: not known */

/* Asked at once. An answer has less than 512 bytes, of which the first 88 count. */
#define BATCH	     64
#define ANSWER_BYTES 512

struct request {
	struct nlmsghdr header;
	struct inet_diag_req_v2 diag;
};

/* A request and what came of it. */
struct question {
	struct request request;
	int r; /* 0; -ENOENT: no such socket is established; other negative errno */
	struct inet_diag_msg socket;
};

static bool is_loopback(const struct dbps_session *session)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const uint8_t *remote = session->remote_addr;
	bool v6 = session->family == DBPS_FAMILY_INET6;

	if (session->family != DBPS_FAMILY_INET && !v6)
		return false;
	/* The host talks to itself, by whichever of its addresses. */
	if (memcmp(remote, session->local_addr, v6 ? 16 : 4) == 0)
		return true;
	if (v6 && memcmp(remote, mapped, sizeof(mapped)) == 0)
		return remote[12] == 127;
	return !v6 && remote[0] == 127;
}

static struct question make_question(const struct dbps_session *session)
{
	return (struct question){
		.request.header = {.nlmsg_len = sizeof(struct request),
				   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
				   .nlmsg_flags = NLM_F_REQUEST},
		.request.diag = {.sdiag_family =
					 session->family == DBPS_FAMILY_INET6 ? AF_INET6 : AF_INET,
				 .sdiag_protocol = IPPROTO_TCP,
				 .idiag_states = UINT32_MAX},
		.r = -EPROTO,
	};
}

static struct question ask_for_client(const struct dbps_session *session)
{
	struct question question = make_question(session);
	struct inet_diag_sockid *id = &question.request.diag.id;

	id->idiag_sport = htons(session->remote_port);
	id->idiag_dport = htons(session->local_port);
	memcpy(id->idiag_src, session->remote_addr, sizeof(id->idiag_src));
	memcpy(id->idiag_dst, session->local_addr, sizeof(id->idiag_dst));
	id->idiag_cookie[0] = INET_DIAG_NOCOOKIE;
	id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	return question;
}

static struct question ask_for_server(const struct dbps_session *session)
{
	struct question question = make_question(session);

	dbps_sock_diag_name(session, &question.request.diag.id);
	return question;
}

/* What an answer says. */
static int judge(struct question *question, const struct nlmsghdr *answer)
{
	const struct inet_diag_sockid *wanted = &question->request.diag.id;
	const struct inet_diag_msg *found = NLMSG_DATA(answer);
	const struct nlmsgerr *error = NLMSG_DATA(answer);

	if (answer->nlmsg_type == NLMSG_ERROR && answer->nlmsg_len >= NLMSG_LENGTH(sizeof(int)))
		return error->error == -ESTALE || !error->error ? -ENOENT : error->error;
	if (answer->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
	    answer->nlmsg_len < NLMSG_LENGTH(sizeof(*found)))
		return -EPROTO;
	/* Without an established one the kernel names the listener of the port. */
	if (found->idiag_state != TCP_ESTABLISHED || found->id.idiag_sport != wanted->idiag_sport ||
	    found->id.idiag_dport != wanted->idiag_dport)
		return -ENOENT;
	question->socket = *found;
	return 0;
}

static int send_questions(int fd, struct question *questions, size_t n)
{
	static const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct iovec parts[BATCH];
	struct msghdr message = {.msg_name = (void *)&kernel,
				 .msg_namelen = sizeof(kernel),
				 .msg_iov = parts,
				 .msg_iovlen = n};

	for (size_t i = 0; i < n; i++) {
		questions[i].request.header.nlmsg_seq = (uint32_t)i;
		parts[i] = (struct iovec){&questions[i].request, sizeof(struct request)};
	}
	return sendmsg(fd, &message, 0) < 0 ? -errno : 0;
}

/* Each question has one answer, with its number. @return How many came, or a negative errno. */
static int read_answers(int fd, struct question *questions, size_t n, unsigned int left)
{
	union {
		struct nlmsghdr header;
		char bytes[ANSWER_BYTES];
	} answers[BATCH];
	struct iovec parts[BATCH];
	struct mmsghdr messages[BATCH] = {0};
	int got;

	for (unsigned int i = 0; i < left; i++) {
		parts[i] = (struct iovec){&answers[i], sizeof(answers[i])};
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	got = recvmmsg(fd, messages, left, MSG_WAITFORONE, NULL);
	if (got < 0)
		return -errno;
	for (int i = 0; i < got; i++) {
		const struct nlmsghdr *header = &answers[i].header;

		if (!NLMSG_OK(header, messages[i].msg_len) || header->nlmsg_seq >= n)
			return -EPROTO;
		questions[header->nlmsg_seq].r = judge(&questions[header->nlmsg_seq], header);
	}
	return got;
}

/* At most BATCH of them. Whether there was an answer to each. */
static int exchange(int fd, struct question *questions, size_t n)
{
	unsigned int left = (unsigned int)n;
	int r = n ? send_questions(fd, questions, n) : 0;

	while (r >= 0 && left) {
		r = read_answers(fd, questions, n, left);
		left -= r > 0 ? (unsigned int)r : 0;
	}
	return r < 0 ? r : 0;
}

static struct dbps_owner owner_of(const struct inet_diag_msg *socket)
{
	return (struct dbps_owner){
		.known = true,
		.uid = socket->idiag_uid,
		.cookie = socket->id.idiag_cookie[0] | (uint64_t)socket->id.idiag_cookie[1] << 32,
	};
}

/*
 * At most BATCH sessions. Invariant 2: the second exchange begins when the first is over.
 * @param only Whose clients are looked for; NULL: anybody's.
 */
static int ask(int fd, const struct dbps_session *const *sessions, size_t n, const uid_t *only,
	       struct dbps_owner *ret)
{
	struct dbps_owner found[BATCH];
	struct question questions[BATCH];
	size_t of[BATCH], n_own = 0;
	int r;

	for (size_t i = 0; i < n; i++)
		questions[i] = ask_for_client(sessions[i]);
	r = exchange(fd, questions, n);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (questions[i].r == 0 && (!only || questions[i].socket.idiag_uid == *only)) {
			found[n_own] = owner_of(&questions[i].socket);
			of[n_own++] = i;
		}
	for (size_t i = 0; i < n_own; i++)
		questions[i] = ask_for_server(sessions[of[i]]);
	if (r == 0)
		r = exchange(fd, questions, n_own);
	for (size_t i = 0; r == 0 && i < n_own; i++)
		if (questions[i].r == 0)
			ret[of[i]] = found[i];
	return r;
}

/* What an answer that came too late would be taken for is not worth knowing: start anew. */
static void ask_here(const struct dbps_session *const *sessions, size_t n, const uid_t *only,
		     struct dbps_owner *ret)
{
	pthread_mutex_lock(&kept.lock);
	if (kept.fd < 0)
		kept.fd = dbps_sock_diag_open(sessions[0]);
	if (kept.fd >= 0 && ask(kept.fd, sessions, n, only, ret) < 0) {
		close(kept.fd);
		kept.fd = -1;
	}
	pthread_mutex_unlock(&kept.lock);
}

static void ask_elsewhere(const struct dbps_session *session, const uid_t *only,
			  struct dbps_owner *ret)
{
	_cleanup_close_ int fd = dbps_sock_diag_open(session);

	if (fd >= 0)
		ask(fd, &session, 1, only, ret);
}

static void find_own_netns(void)
{
	if (dbps_process_namespace(0, "net", &own_netns) < 0)
		own_netns = 0;
}

static bool is_here(const struct dbps_session *session)
{
	pthread_once(&own_once, find_own_netns);
	return own_netns && own_netns == session->netns;
}

/* What need not be asked, or cannot be asked together with others. @return Whether it is settled.
 */
static bool settle_alone(const struct dbps_session *session, const uid_t *only,
			 struct dbps_owner *ret)
{
	*ret = (struct dbps_owner){0};
	if (session->family == DBPS_FAMILY_UNIX) {
		ret->known = session->client_pid;
		ret->uid = session->client_uid;
		return true;
	}
	/* A cookie of 0 would match any. */
	if (!is_loopback(session) || !session->cookie)
		return true;
	if (is_here(session))
		return false;
	ask_elsewhere(session, only, ret);
	return true;
}

static void find(const struct dbps_session *const *sessions, size_t n, const uid_t *only,
		 struct dbps_owner *ret)
{
	const struct dbps_session *asked[BATCH];
	struct dbps_owner answers[BATCH] = {0};
	size_t of[BATCH], n_asked = 0;

	for (size_t i = 0; i < n; i++) {
		if (!settle_alone(sessions[i], only, &ret[i])) {
			asked[n_asked] = sessions[i];
			of[n_asked++] = i;
		}
		if (n_asked < BATCH && i + 1 < n)
			continue;
		if (n_asked)
			ask_here(asked, n_asked, only, answers);
		for (size_t k = 0; k < n_asked; k++)
			ret[of[k]] = answers[k];
		memset(answers, 0, sizeof(answers));
		n_asked = 0;
	}
}

void dbps_owners_find(const struct dbps_session *const *sessions, size_t n, struct dbps_owner *ret)
{
	find(sessions, n, NULL, ret);
}

void dbps_owners_are(const struct dbps_session *const *sessions, size_t n, uid_t uid, bool *ret)
{
	struct dbps_owner owners[BATCH];

	for (size_t at = 0; at < n; at += BATCH) {
		size_t n_here = n - at < BATCH ? n - at : BATCH;

		find(sessions + at, n_here, &uid, owners);
		for (size_t i = 0; i < n_here; i++)
			ret[at + i] = owners[i].known && owners[i].uid == uid;
	}
}

bool dbps_owner_is(const struct dbps_session *session, uid_t uid)
{
	bool is;

	dbps_owners_are(&session, 1, uid, &is);
	return is;
}
