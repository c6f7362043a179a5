// A gateway's process, or the command that checks a running cluster.
using Atelier.Gateway.Checks;
using Atelier.Gateway.Hosting;

return args is [PictureCheck.Name, .. var rest]
    ? await PictureCheck.RunAsync(rest, Console.Out, Console.Error)
    : await GatewayHost.RunAsync(args);
