/** Ends this Java process when its standard input closes, so that no test run leaves one behind, however it ends. */
public final class Guard {
  private Guard() {}

  /** Does nothing else: for the test of it. */
  public static void main(String[] args) throws InterruptedException {
    untilInputEnds();
    System.out.println("guarded");
    Thread.currentThread().join();
  }

  public static void untilInputEnds() {
    Thread thread = new Thread(() -> {
      try {
        while (System.in.read() >= 0) continue;
      } catch (java.io.IOException closed) {
        // A broken pipe means the same as its end.
      }
      Runtime.getRuntime().halt(143);
    }, "guard");
    thread.setDaemon(true);
    thread.start();
  }
}
