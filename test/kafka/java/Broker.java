import java.util.Arrays;

/** One Kafka broker: `Broker PROPERTIES [FORMAT-ARGUMENT...]` formats its folder first where arguments say so. */
public final class Broker {
  private Broker() {}

  public static void main(String[] args) {
    Guard.untilInputEnds();
    if (args.length > 1) {
      String[] format = Arrays.copyOfRange(args, 1, args.length);
      int exit = kafka.tools.StorageTool.execute(format, System.err);
      if (exit != 0) Runtime.getRuntime().halt(exit);
    }
    kafka.Kafka.main(new String[] {args[0]});
  }
}
