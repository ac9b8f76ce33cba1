/* What a C program reaches: publishing to a quorum queue on librabbitmq with pipelined confirms.
 *
 *   cc -O2 -o publish publish.c -lrabbitmq
 *   ./publish PORT QUEUE MESSAGES IN_FLIGHT      (guest:guest at 127.0.0.1) prints the seconds that it took
 */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static void require(int good, const char *what) {
  if (!good) {
    fprintf(stderr, "failed: %s\n", what);
    exit(1);
  }
}

static void require_reply(amqp_rpc_reply_t reply, const char *what) {
  require(reply.reply_type == AMQP_RESPONSE_NORMAL, what);
}

/* Wait for one basic.ack and return the highest delivery tag that it covers. */
static unsigned long next_ack(amqp_connection_state_t connection) {
  amqp_frame_t frame;
  for (;;) {
    require(amqp_simple_wait_frame(connection, &frame) == AMQP_STATUS_OK, "waiting for a confirm");
    if (frame.frame_type == AMQP_FRAME_METHOD && frame.payload.method.id == AMQP_BASIC_ACK_METHOD) {
      return ((amqp_basic_ack_t *)frame.payload.method.decoded)->delivery_tag;
    }
    require(frame.frame_type == AMQP_FRAME_HEARTBEAT, "anything but acks");
  }
}

int main(int argc, char **argv) {
  require(argc == 5, "usage: publish PORT QUEUE MESSAGES IN_FLIGHT");
  const unsigned long messages = strtoul(argv[3], NULL, 10), in_flight = strtoul(argv[4], NULL, 10);
  amqp_connection_state_t connection = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(connection);
  require(amqp_socket_open(socket, "127.0.0.1", atoi(argv[1])) == 0, "connecting");
  require_reply(amqp_login(connection, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest"), "login");
  amqp_channel_open(connection, 1);
  require_reply(amqp_get_rpc_reply(connection), "opening a channel");
  amqp_table_entry_t entry = {amqp_cstring_bytes("x-queue-type"), {AMQP_FIELD_KIND_UTF8, {0}}};
  entry.value.value.bytes = amqp_cstring_bytes("quorum");
  amqp_table_t arguments = {1, &entry};
  amqp_queue_declare(connection, 1, amqp_cstring_bytes(argv[2]), 0, 1, 0, 0, arguments);
  require_reply(amqp_get_rpc_reply(connection), "declaring the queue");
  amqp_confirm_select(connection, 1);
  require_reply(amqp_get_rpc_reply(connection), "confirm mode");

  char body[350];
  memset(body, 'x', sizeof body);
  amqp_basic_properties_t properties = {0};
  properties._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG;
  properties.content_type = amqp_cstring_bytes("application/json");
  properties.delivery_mode = 2;
  const amqp_bytes_t payload = {sizeof body, body};

  const double began = now();
  unsigned long sent = 0, confirmed = 0;
  while (confirmed < messages) {
    while (sent < messages && sent - confirmed < in_flight) {
      require(amqp_basic_publish(connection, 1, amqp_empty_bytes, amqp_cstring_bytes(argv[2]), 0, 0, &properties,
                                 payload) == AMQP_STATUS_OK,
              "publishing");
      sent++;
    }
    confirmed = next_ack(connection);
    amqp_maybe_release_buffers(connection);
  }
  printf("%f\n", now() - began);
  amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(connection);
  return 0;
}
