// The atelier command.
return await Atelier.Cli.Commands.AtelierCommand.RunAsync(args);
