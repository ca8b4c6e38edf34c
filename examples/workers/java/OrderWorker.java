// A worker on a Tenon cluster, and a program that starts a workflow on it: mutual
// TLS with certificates that are read again when they are renewed, a token that is
// read again before it expires, and a namespace, all from the environment: the
// variables that every Temporal SDK and the temporal CLI read, and
// TENON_TOKEN_FILE, a file that is replaced before its token expires.
//
// Needs io.temporal:temporal-sdk 1.28 or later and io.grpc:grpc-util 1.66 or later.
//
//   java OrderWorker worker
//   java OrderWorker client 1001

import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContext;
import io.grpc.util.AdvancedTlsX509KeyManager;
import io.grpc.util.AdvancedTlsX509TrustManager;
import io.temporal.activity.ActivityInterface;
import io.temporal.activity.ActivityOptions;
import io.temporal.client.WorkflowClient;
import io.temporal.client.WorkflowClientOptions;
import io.temporal.client.WorkflowOptions;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.serviceclient.WorkflowServiceStubsOptions;
import io.temporal.worker.Worker;
import io.temporal.worker.WorkerFactory;
import io.temporal.workflow.Workflow;
import io.temporal.workflow.WorkflowInterface;
import io.temporal.workflow.WorkflowMethod;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.time.Duration;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

public final class OrderWorker {
  private static final String TASK_QUEUE = "orders";

  // The workflow is the same in every language of these examples.
  @WorkflowInterface
  public interface OrderWorkflow {
    @WorkflowMethod(name = "OrderWorkflow")
    String run(String order);
  }

  @ActivityInterface(namePrefix = "")
  public interface Activities {
    String charge(String order);
  }

  public static final class OrderWorkflowImpl implements OrderWorkflow {
    private final Activities activities =
        Workflow.newActivityStub(
            Activities.class,
            ActivityOptions.newBuilder().setStartToCloseTimeout(Duration.ofMinutes(1)).build());

    @Override
    public String run(String order) {
      return activities.charge(order);
    }
  }

  public static final class ActivitiesImpl implements Activities {
    @Override
    public String charge(String order) {
      return "charged " + order;
    }
  }

  // TokenFile is the current content of a token file. While the file cannot be read
  // it keeps the last token, which expires by itself.
  static final class TokenFile {
    private final Path path;
    private volatile String token;

    TokenFile(Path path, ScheduledExecutorService clock) throws IOException {
      this.path = path;
      this.token = read();
      clock.scheduleWithFixedDelay(this::renew, 2, 2, TimeUnit.SECONDS);
    }

    String current() {
      return token;
    }

    private void renew() {
      try {
        token = read();
      } catch (IOException err) {
        System.err.println("token file not taken over, the last token stays in use: " + err);
      }
    }

    private String read() throws IOException {
      String read = Files.readString(path).trim();
      if (read.isEmpty()) {
        throw new IOException(path + " is empty");
      }
      return read;
    }
  }

  private static WorkflowClient connect(ScheduledExecutorService clock)
      throws IOException, GeneralSecurityException {
    TokenFile token = new TokenFile(Path.of(need("TENON_TOKEN_FILE")), clock);
    WorkflowServiceStubsOptions options =
        WorkflowServiceStubsOptions.newBuilder()
            .setTarget(need("TEMPORAL_ADDRESS"))
            .setSslContext(certificates(clock))
            // The name that every server of a Tenon cluster carries in its certificate.
            .setChannelInitializer(
                channel ->
                    channel.overrideAuthority(or("TEMPORAL_TLS_SERVER_NAME", "temporal-server")))
            .addApiKey(token::current) // asked before every call
            .build();
    return WorkflowClient.newInstance(
        WorkflowServiceStubs.newServiceStubs(options),
        WorkflowClientOptions.newBuilder()
            .setNamespace(or("TEMPORAL_NAMESPACE", "default"))
            .build());
  }

  // certificates are read again once a minute; each new connection uses the latest.
  private static SslContext certificates(ScheduledExecutorService clock)
      throws IOException, GeneralSecurityException {
    AdvancedTlsX509KeyManager own = new AdvancedTlsX509KeyManager();
    own.updateIdentityCredentials(
        new File(need("TEMPORAL_TLS_CLIENT_CERT_PATH")),
        new File(need("TEMPORAL_TLS_CLIENT_KEY_PATH")),
        1,
        TimeUnit.MINUTES,
        clock);
    AdvancedTlsX509TrustManager trusted = AdvancedTlsX509TrustManager.newBuilder().build();
    trusted.updateTrustCredentials(
        new File(need("TEMPORAL_TLS_SERVER_CA_CERT_PATH")), 1, TimeUnit.MINUTES, clock);
    return GrpcSslContexts.forClient().keyManager(own).trustManager(trusted).build();
  }

  private static String need(String name) {
    String value = or(name, "");
    if (value.isEmpty()) {
      throw new IllegalStateException(name + " is not set");
    }
    return value;
  }

  private static String or(String name, String otherwise) {
    String value = System.getenv(name);
    return value == null || value.isEmpty() ? otherwise : value;
  }

  public static void main(String[] args) throws Exception {
    ScheduledExecutorService clock =
        Executors.newSingleThreadScheduledExecutor(
            task -> {
              Thread thread = new Thread(task, "renewal");
              thread.setDaemon(true);
              return thread;
            });
    if (args.length == 1 && args[0].equals("worker")) {
      work(connect(clock));
    } else if (args.length == 2 && args[0].equals("client")) {
      order(connect(clock), args[1]);
    } else {
      System.err.println("usage: OrderWorker worker | client ORDER");
      System.exit(1);
    }
  }

  private static void work(WorkflowClient client) {
    WorkerFactory factory = WorkerFactory.newInstance(client);
    Worker worker = factory.newWorker(TASK_QUEUE);
    worker.registerWorkflowImplementationTypes(OrderWorkflowImpl.class);
    worker.registerActivitiesImplementations(new ActivitiesImpl());
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  factory.shutdown();
                  factory.awaitTermination(30, TimeUnit.SECONDS);
                }));
    factory.start();
    System.out.println("ready");
  }

  private static void order(WorkflowClient client, String id) {
    OrderWorkflow order =
        client.newWorkflowStub(
            OrderWorkflow.class,
            WorkflowOptions.newBuilder()
                .setWorkflowId("order-" + id)
                .setTaskQueue(TASK_QUEUE)
                .build());
    System.out.println(order.run(id));
    client.getWorkflowServiceStubs().shutdown();
  }
}
