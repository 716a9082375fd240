#if UNITY_EDITOR
using System.IO;
using UnityEditor.Build;
using UnityEditor.Build.Reporting;
using UnityEditor.PackageManager;
using UnityEditor.UnityLinker;

namespace Tickwire.Editor
{
    /// <summary>Passes the package's link.xml to the linker: Unity reads such files in Assets only, not in packages.</summary>
    internal sealed class LinkXml : IUnityLinkerProcessor
    {
        public int callbackOrder => 0;

        public string GenerateAdditionalLinkXmlFile(BuildReport report, UnityLinkerBuildPipelineData data)
        {
            PackageInfo package = PackageInfo.FindForAssembly(typeof(LinkXml).Assembly);
            if (package == null) throw new BuildFailedException("the package of the Tickwire client was not found");
            return Path.Combine(package.resolvedPath, "Runtime", "link.xml");
        }
    }
}
#endif
