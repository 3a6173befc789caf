/* One end of a call: it agrees on keys by ZRTP (libbzrtp), then sends and receives SRTP and SRTCP under them (libsrtp2). It knows one address,
 * the relay's.
 *   zrtpend ADDRESS RTPPORT RTCPPORT SSRC PACKETS
 * prints:  sas S | sent HEX | got HEX | plain RTP RTCP  (packets that came out right)  | error TEXT
 */
#include <arpa/inet.h>
#include <bzrtp/bzrtp.h>
#include <errno.h>
#include <poll.h>
#include <srtp2/srtp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MTU 1500
#define TIMEOUT 20000 /* ms */

static int socks[2];
static uint32_t self;
static srtp_t out, in;
static int secure, good[2];

static uint64_t now_ms(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void fail(const char *what) {
	printf("error %s\n", what);
	fflush(stdout);
	exit(1);
}

static void show(const char *word, const uint8_t *b, int n) {
	printf("%s ", word);
	for (int i = 0; i < n; i++) printf("%02x", b[i]);
	printf("\n");
}

static int send_zrtp(void *data, const uint8_t *b, uint16_t n) {
	(void)data;
	return send(socks[0], b, n, 0) == n ? 0 : -1;
}

static srtp_t session(const uint8_t *key, int keylen, const uint8_t *salt, int saltlen, int tag, srtp_ssrc_type_t dir) {
	uint8_t both[64];
	srtp_policy_t p;
	srtp_t s;
	if (keylen != 16 || saltlen != 14) fail("key length");
	memset(&p, 0, sizeof p);
	memcpy(both, key, keylen);
	memcpy(both + keylen, salt, saltlen);
	if (tag == ZRTP_AUTHTAG_HS32) srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(&p.rtp);
	else srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&p.rtp);
	srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&p.rtcp);
	p.key = both;
	p.ssrc.type = dir;
	p.window_size = 1024;
	if (srtp_create(&s, &p) != srtp_err_status_ok) fail("srtp_create");
	return s;
}

static int keyed(void *data, const bzrtpSrtpSecrets_t *k, uint8_t part) {
	(void)data;
	if (part & ZRTP_SRTP_SECRETS_FOR_SENDER)
		out = session(k->selfSrtpKey, k->selfSrtpKeyLength, k->selfSrtpSalt, k->selfSrtpSaltLength, k->authTagAlgo, ssrc_any_outbound);
	if (part & ZRTP_SRTP_SECRETS_FOR_RECEIVER)
		in = session(k->peerSrtpKey, k->peerSrtpKeyLength, k->peerSrtpSalt, k->peerSrtpSaltLength, k->authTagAlgo, ssrc_any_inbound);
	return 0;
}

static int started(void *data, const bzrtpSrtpSecrets_t *k, int32_t verified) {
	(void)data;
	(void)verified;
	printf("sas %s\n", k->sas);
	secure = 1;
	return 0;
}

static void put32(uint8_t *b, uint32_t v) {
	b[0] = v >> 24, b[1] = v >> 16, b[2] = v >> 8, b[3] = v;
}

/* payload byte i of packet n: the receiver knows what to expect */
static uint8_t filling(int n, int i) { return (uint8_t)(n * 31 + i * 7); }

static int build(uint8_t *b, int n, int rtcp) {
	memset(b, 0, MTU);
	if (rtcp) { /* an empty receiver report, and a BYE's worth of nothing */
		b[0] = 0x80, b[1] = 201, b[3] = 1;
		put32(b + 4, self);
		return 8;
	}
	int size = 40 + n * 13 % 1000;
	b[0] = 0x80, b[1] = 96, b[2] = n >> 8, b[3] = n;
	put32(b + 4, 3000u * n);
	put32(b + 8, self);
	for (int i = 0; i < size; i++) b[12 + i] = filling(n, i);
	return 12 + size;
}

static void send_media(int n, int rtcp) {
	uint8_t b[MTU + 256];
	int len = build(b, n, rtcp);
	srtp_err_status_t st = rtcp ? srtp_protect_rtcp(out, b, &len) : srtp_protect(out, b, &len);
	if (st != srtp_err_status_ok) fail("protect");
	if (send(socks[rtcp], b, len, 0) != len) fail("send");
	show("sent", b, len);
}

static void take_media(uint8_t *b, int n) {
	show("got", b, n);
	if (!in) return;
	if (b[1] >= 192 && b[1] < 224) {
		good[1] += srtp_unprotect_rtcp(in, b, &n) == srtp_err_status_ok;
		return;
	}
	if (srtp_unprotect(in, b, &n) != srtp_err_status_ok) return;
	int seq = b[2] << 8 | b[3];
	for (int i = 12; i < n; i++)
		if (b[i] != filling(seq, i - 12)) return;
	good[0]++;
}

int main(int argc, char **argv) {
	if (argc != 6) fail("usage: zrtpend ADDRESS RTPPORT RTCPPORT SSRC PACKETS");
	int want = atoi(argv[5]), wantc = want / 10, sent = 0, sentc = 0;
	self = strtoul(argv[4], NULL, 10);
	for (int i = 0; i < 2; i++) {
		struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2 + i]))};
		if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) fail("address");
		socks[i] = socket(AF_INET, SOCK_DGRAM, 0);
		if (socks[i] < 0 || connect(socks[i], (struct sockaddr *)&to, sizeof to)) fail("connect");
	}
	srtp_init();
	bzrtpContext_t *z = bzrtp_createBzrtpContext();
	bzrtpCallbacks_t cb;
	memset(&cb, 0, sizeof cb);
	cb.bzrtp_sendData = send_zrtp;
	cb.bzrtp_srtpSecretsAvailable = keyed;
	cb.bzrtp_startSrtpSession = started;
	bzrtp_setCallbacks(z, &cb);
	uint8_t aes[7] = {ZRTP_CIPHER_AES1};
	bzrtp_setSupportedCryptoTypes(z, ZRTP_CIPHERBLOCK_TYPE, aes, 1);
	if (bzrtp_initBzrtpContext(z, self) || bzrtp_startChannelEngine(z, self)) fail("bzrtp");

	uint64_t end = now_ms() + TIMEOUT, linger = 0;
	while (now_ms() < end && !(linger && now_ms() > linger)) {
		bzrtp_iterate(z, self, now_ms());
		if (secure && sent < want) send_media(sent++, 0);
		if (secure && sentc < wantc && sent > 10 * sentc) send_media(sentc++, 1);
		struct pollfd p[2] = {{.fd = socks[0], .events = POLLIN}, {.fd = socks[1], .events = POLLIN}};
		poll(p, 2, 5);
		for (int i = 0; i < 2; i++) {
			uint8_t b[2 * MTU];
			int n;
			while ((n = recv(socks[i], b, sizeof b, MSG_DONTWAIT)) > 0) {
				if (b[0] >= 16 && b[0] < 20) bzrtp_processMessage(z, self, b, n);
				else if (b[0] >> 6 == 2) take_media(b, n);
			}
		}
		/* all there: stay a little, the other end may still need answers */
		if (!linger && sent == want && good[0] >= want && good[1] >= wantc) linger = now_ms() + 500;
	}
	printf("plain %d %d\n", good[0], good[1]);
	bzrtp_destroyBzrtpContext(z, self);
	return 0;
}
