// A gateway's process: see Hosting/GatewayHost.cs.
using Atelier.Gateway.Hosting;

return await GatewayHost.RunAsync(args);
